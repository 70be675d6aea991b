//! Errors in a program, as data and as text that quotes the source.

use crate::source::{LineColumn, SourceId, Span, line_column};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use proc_macro2::{TokenStream, TokenTree};
use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The program means nothing.
    Error,
    /// The program means something, and hardly what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One error or warning: what is wrong, where, and what may help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where. None for an error in the settings, which are no part of the text.
    pub span: Option<Span>,
    /// Written at the place.
    pub label: String,
    /// Further facts, with the places they are about.
    pub notes: Vec<Note>,
    /// What to do about it.
    pub help: Option<String>,
    /// What to write at the place instead, where that is known: the nearest name.
    pub suggestion: Option<String>,
    /// The name in the settings that it is about, if it is about one.
    pub setting: Option<String>,
}

/// A fact that belongs to an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The fact.
    pub message: String,
    /// The place it is about.
    pub span: Option<Span>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { span: Some(span), ..Diagnostic::without_place(message) }
    }

    /// A warning at a place.
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::new(span, message) }
    }

    /// An error that has no place in the text.
    pub fn without_place(message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            notes: vec![],
            help: None,
            suggestion: None,
            setting: None,
        }
    }

    /// With words at the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a further fact.
    pub fn note(mut self, message: impl Into<String>) -> Self {
        self.notes.push(Note { message: message.into(), span: None });
        self
    }

    /// With a further fact about another place.
    pub fn note_at(mut self, span: Span, message: impl Into<String>) -> Self {
        self.notes.push(Note { message: message.into(), span: Some(span) });
        self
    }

    /// With the name that was probably meant, as the label.
    pub fn did_you_mean(mut self, near: &str) -> Self {
        self.suggestion = Some(near.to_string());
        self.label(format!("did you mean `{near}`?"))
    }

    /// About a name in the settings.
    pub fn about_setting(mut self, name: impl Into<String>) -> Self {
        self.setting = Some(name.into());
        self
    }

    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A text that places refer to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SourceText {
    pub name: String,
    pub text: String,
}

/// All errors of a program, in the order they were found, never none.
///
/// `Display` quotes the source with carets, without colours; [`Diagnostics::render`] chooses.
#[derive(Clone, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// Texts by [`SourceId`].
    sources: Vec<SourceText>,
    from_tokens: bool,
}

/// Longest line, in bytes, that is quoted whole.
const LONG_LINE: usize = 400;

/// A part of a text that is shown.
struct Quotation<'a> {
    text: &'a str,
    /// Where it begins in the whole text.
    start: usize,
    /// The number of its first line.
    line: usize,
}

impl<'a> Quotation<'a> {
    fn snippet(&self, path: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.text).path(path).line_start(self.line)
    }

    fn holds(&self, place: &Range<usize>) -> bool {
        place.start >= self.start && place.end <= self.start + self.text.len()
    }

    /// A place of the whole text, in the quotation.
    fn place(&self, place: Range<usize>) -> Range<usize> {
        let within = |at: usize| floor(self.text, at.saturating_sub(self.start));
        within(place.start)..within(place.end)
    }
}

/// The last character boundary up to a byte.
fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Diagnostics {
    pub(crate) fn new(list: Vec<Diagnostic>, sources: Vec<SourceText>, from_tokens: bool) -> Self {
        debug_assert!(!list.is_empty());
        Diagnostics { list, sources, from_tokens }
    }

    /// The errors.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// First and last position of a place.
    pub fn lines(&self, span: Span) -> (LineColumn, LineColumn) {
        let text = self.text(span.source);
        (line_column(text, span.start as usize), line_column(text, span.end as usize))
    }

    /// Name of a text: the file name given, or the library file.
    pub fn file_name(&self, source: SourceId) -> &str {
        self.sources.get(source.0 as usize).map_or("", |source| &source.name)
    }

    fn text(&self, source: SourceId) -> &str {
        self.sources.get(source.0 as usize).map_or("", |source| &source.text)
    }

    /// The errors as text that quotes the source, with colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for (i, diagnostic) in self.list.iter().enumerate() {
            if i > 0 {
                out.push_str("\n\n");
            }
            out.push_str(&renderer.render(&self.groups(diagnostic)));
        }
        out
    }

    fn groups<'a>(&'a self, diagnostic: &'a Diagnostic) -> Vec<Group<'a>> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&*diagnostic.message);
        let mut group = Group::with_title(title);
        // Notes about places in the quotation stand in it; the others follow.
        let mut apart: Vec<&Note> = diagnostic.notes.iter().collect();
        if let Some(span) = diagnostic.span {
            let quotation = self.quotation(span);
            let mut primary = AnnotationKind::Primary.span(quotation.place(self.clamp(span)));
            if !diagnostic.label.is_empty() {
                primary = primary.label(&*diagnostic.label);
            }
            let mut snippet = quotation.snippet(self.file_name(span.source)).annotation(primary);
            apart.retain(|note| match note.span {
                Some(place) if place.source == span.source && quotation.holds(&self.clamp(place)) => {
                    let context = AnnotationKind::Context.span(quotation.place(self.clamp(place)));
                    snippet =
                        std::mem::replace(&mut snippet, Snippet::source("")).annotation(context.label(&*note.message));
                    false
                }
                _ => true,
            });
            group = group.element(snippet);
        }
        for note in apart {
            group = group.element(Level::NOTE.message(&*note.message));
            if let Some(place) = note.span {
                let quotation = self.quotation(place);
                let context = AnnotationKind::Context.span(quotation.place(self.clamp(place)));
                group = group.element(quotation.snippet(self.file_name(place.source)).annotation(context));
            }
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(&**help));
        }
        vec![group]
    }

    /// The text around a place: all of it, unless the line is very long.
    fn quotation(&self, span: Span) -> Quotation<'_> {
        let text = self.text(span.source);
        let place = self.clamp(span);
        let start = text[..place.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[place.end..].find('\n').map_or(text.len(), |at| place.end + at);
        if end - start <= LONG_LINE {
            return Quotation { text, start: 0, line: 1 };
        }
        let line = text[..start].matches('\n').count() + 1;
        let from = floor(text, place.start.saturating_sub(LONG_LINE / 4)).max(start);
        let to = floor(text, place.end.min(place.start + LONG_LINE / 2) + LONG_LINE / 4).min(end);
        Quotation { text: &text[from..to], start: from, line }
    }

    /// The range of a place, inside its text and on character boundaries whatever the place says.
    fn clamp(&self, span: Span) -> Range<usize> {
        let text = self.text(span.source);
        let (start, end) = (floor(text, span.start as usize), floor(text, span.end as usize));
        start..end.max(start)
    }

    /// For a program that came as tokens: each error's text (without quotation) with the first and last of the tokens
    /// it is about, to point at them in the user's file. Give the same tokens; an error without a place points at the
    /// macro call.
    pub fn locate(&self, tokens: &TokenStream) -> Vec<(String, proc_macro2::Span, proc_macro2::Span)> {
        let spans = if self.from_tokens { leaf_spans(tokens.clone()) } else { vec![] };
        let ranges = crate::parse::token_ranges(self.text(SourceId::USER));
        // The printed text must have the tokens of the original; if not, the macro call has to do.
        let agree = spans.len() == ranges.len();
        let mut located = vec![];
        for diagnostic in &self.list {
            let call_site = proc_macro2::Span::call_site();
            let mut place = (call_site, call_site);
            if let Some(span) = diagnostic.span.filter(|span| agree && span.source == SourceId::USER) {
                let inside: Vec<usize> = (0..ranges.len())
                    .filter(|&i| ranges[i].start < span.end as usize && ranges[i].end > span.start as usize)
                    .collect();
                if let (Some(&first), Some(&last)) = (inside.first(), inside.last()) {
                    place = (spans[first], spans[last]);
                }
            }
            located.push((self.plain(diagnostic), place.0, place.1));
        }
        located
    }

    /// Message, label, notes and help of an error as lines, for places that quote the source themselves.
    pub fn plain(&self, diagnostic: &Diagnostic) -> String {
        let mut out = diagnostic.message.clone();
        if !diagnostic.label.is_empty() {
            out.push_str(&format!(": {}", diagnostic.label));
        }
        for note in &diagnostic.notes {
            out.push_str(&format!("\nnote: {}", note.message));
        }
        if let Some(help) = &diagnostic.help {
            out.push_str(&format!("\nhelp: {help}"));
        }
        out
    }
}

/// The spans of all tokens in reading order; groups count as an opening and a closing token, invisible ones not at all.
fn leaf_spans(tokens: TokenStream) -> Vec<proc_macro2::Span> {
    let mut out = vec![];
    // Not recursive: nothing bounds the nesting of tokens.
    let mut open = vec![(tokens.into_iter(), None)];
    while let Some((level, close)) = open.last_mut() {
        match level.next() {
            Some(TokenTree::Group(group)) => {
                let visible = group.delimiter() != proc_macro2::Delimiter::None;
                if visible {
                    out.push(group.span_open());
                }
                let close = visible.then(|| group.span_close());
                open.push((group.stream().into_iter(), close));
            }
            Some(other) => out.push(other.span()),
            None => {
                out.extend(*close);
                open.pop();
            }
        }
    }
    out
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
