//! What stands inside the macro's parentheses.

use nsa_artifact::{DType, Target};
use proc_macro2::{Span, TokenStream};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Lit, LitStr, Token, UnOp, Visibility, braced, bracketed, parenthesized};

/// A call of the macro.
pub struct Input {
    pub visibility: Visibility,
    /// Name of the module; None: the kernel's name.
    pub module: Option<Ident>,
    pub source: Source,
    /// What there must be code for, each with its place; None: the default.
    pub targets: Option<Vec<(Target, Span)>>,
    /// Other values for constants.
    pub constants: Vec<(Ident, Number)>,
    /// Another element type, and its place.
    pub element: Option<(DType, Span)>,
}

/// Where the program is.
pub enum Source {
    /// In a file.
    File(LitStr),
    /// In the macro's parentheses.
    InPlace(TokenStream),
    /// Compiled already, in a file.
    Prebuilt(LitStr),
}

/// The value of a constant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    Int(i64),
    Float(f64),
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let fork = input.fork();
        let named = fork.parse::<Visibility>().is_ok() && fork.peek(Token![mod]);
        if named {
            let visibility = input.parse()?;
            input.parse::<Token![mod]>()?;
            let module = Some(input.parse()?);
            input.parse::<Token![=]>()?;
            let source = if input.peek(syn::token::Brace) {
                let content;
                braced!(content in input);
                Source::InPlace(content.parse()?)
            } else if input.peek(LitStr) {
                Source::File(input.parse()?)
            } else if is_prebuilt(input) && input.peek2(LitStr) {
                input.parse::<Ident>()?;
                Source::Prebuilt(input.parse()?)
            } else {
                return Err(input.error(
                    "expected the path of a program in quotes, a program in braces, or `prebuilt` and the path of an artifact",
                ));
            };
            Input::new(visibility, module, source).options(input)
        } else if is_prebuilt(input) && input.peek2(Token![=]) {
            input.parse::<Ident>()?;
            input.parse::<Token![=]>()?;
            let source = Source::Prebuilt(input.parse()?);
            Input::new(Visibility::Inherited, None, source).options(input)
        } else {
            Ok(Input::new(Visibility::Inherited, None, Source::InPlace(input.parse()?)))
        }
    }
}

/// True if the word `prebuilt` comes next; no program begins with it.
fn is_prebuilt(input: ParseStream<'_>) -> bool {
    input.fork().parse::<Ident>().is_ok_and(|word| word == "prebuilt")
}

impl Input {
    fn new(visibility: Visibility, module: Option<Ident>, source: Source) -> Input {
        Input { visibility, module, source, targets: None, constants: vec![], element: None }
    }

    fn options(mut self, input: ParseStream<'_>) -> syn::Result<Input> {
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            self.option(input)?;
        }
        Ok(self)
    }

    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let name: Ident = input.parse()?;
        match (name.to_string().as_str(), &self.source) {
            ("set" | "element", Source::Prebuilt(_)) => {
                return Err(syn::Error::new(
                    name.span(),
                    format!("a prebuilt artifact has its values already: give them to `nsa build` (--{name})"),
                ));
            }
            ("targets", _) => {
                input.parse::<Token![=]>()?;
                let content;
                bracketed!(content in input);
                let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
                let mut targets: Vec<(Target, Span)> = vec![];
                for name in &names {
                    let target = name.value().parse().map_err(|e| syn::Error::new(name.span(), e))?;
                    if !targets.iter().any(|(known, _)| *known == target) {
                        targets.push((target, name.span()));
                    }
                }
                if targets.is_empty() {
                    return Err(syn::Error::new(
                        name.span(),
                        "no targets: name one at least, such as \"sm_80\" or \"host\"",
                    ));
                }
                self.targets = Some(targets);
            }
            ("set", _) => {
                let content;
                parenthesized!(content in input);
                for Setting { name, value } in Punctuated::<Setting, Token![,]>::parse_terminated(&content)? {
                    self.constants.push((name, value));
                }
            }
            ("element", _) => {
                input.parse::<Token![=]>()?;
                let text: LitStr = input.parse()?;
                let dtype = match text.value().as_str() {
                    "bf16" => DType::Bf16,
                    "f16" => DType::F16,
                    "f32" => DType::F32,
                    _ => return Err(syn::Error::new(text.span(), "element types are \"bf16\", \"f16\" and \"f32\"")),
                };
                self.element = Some((dtype, text.span()));
            }
            _ => {
                return Err(syn::Error::new(
                    name.span(),
                    "options are targets = [...], set(NAME = value) and element = \"...\"",
                ));
            }
        }
        Ok(())
    }
}

/// `NAME = value`.
struct Setting {
    name: Ident,
    value: Number,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        let negative = input.peek(Token![-]) && matches!(input.parse::<UnOp>()?, UnOp::Neg(_));
        let literal: Lit = input.parse()?;
        let value = match &literal {
            Lit::Int(n) => Number::Int(n.base10_parse::<i64>().map(|n| if negative { -n } else { n })?),
            Lit::Float(x) => Number::Float(x.base10_parse::<f64>().map(|x| if negative { -x } else { x })?),
            other => return Err(syn::Error::new(other.span(), "expected a number")),
        };
        Ok(Setting { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Input, String> {
        syn::parse_str(text).map_err(|e| e.to_string())
    }

    fn targets(input: &Input) -> Option<Vec<Target>> {
        input.targets.as_ref().map(|targets| targets.iter().map(|(target, _)| *target).collect())
    }

    #[test]
    fn all_options() {
        let input = parse(
            r#"pub(crate) mod fast = "a/b.nsa", targets = ["sm_90a", "aarch64", "sm_90a"], set(N = 8, d = 64, X = -0.5), element = "f16","#,
        );
        let input = input.expect("well formed");
        assert_eq!(input.module.as_ref().map(|m| m.to_string()).as_deref(), Some("fast"));
        assert!(matches!(&input.source, Source::File(p) if p.value() == "a/b.nsa"));
        assert_eq!(targets(&input), Some(vec![Target::Sm90a, Target::Aarch64]));
        let constants: Vec<_> = input.constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let expected = [("N", Number::Int(8)), ("d", Number::Int(64)), ("X", Number::Float(-0.5))];
        assert_eq!(constants, expected.map(|(name, value)| (name.to_string(), value)));
        assert_eq!(input.element.map(|(dtype, _)| dtype), Some(DType::F16));
    }

    #[test]
    fn programs_in_place() {
        let program = "const N = 4; kernel f(x[t, d = 4]) -> y[t, d] { x }";
        let bare = parse(program).expect("well formed");
        assert!(bare.module.is_none() && matches!(bare.source, Source::InPlace(_)) && bare.targets.is_none());
        let named = parse(&format!("mod m = {{ {program} }}, targets = [\"host\"]")).expect("well formed");
        assert_eq!(targets(&named), Some(Vec::from_iter(Target::this_host())));
        assert!(matches!(named.source, Source::InPlace(_)));
    }

    #[test]
    fn prebuilt_artifacts() {
        let bare = parse(r#"prebuilt = "a/b.nsak", targets = ["sm_80"]"#).expect("well formed");
        assert!(bare.module.is_none() && matches!(&bare.source, Source::Prebuilt(p) if p.value() == "a/b.nsak"));
        assert_eq!(targets(&bare), Some(vec![Target::Sm80]));
        let named = parse(r#"pub mod fast = prebuilt "a/b.nsak""#).expect("well formed");
        assert_eq!(named.module.map(|m| m.to_string()).as_deref(), Some("fast"));
        assert!(matches!(&named.source, Source::Prebuilt(p) if p.value() == "a/b.nsak"));
        assert!(matches!(named.visibility, Visibility::Public(_)));
    }

    #[test]
    fn mistakes() {
        let mistake = |text: &str| parse(text).err().expect("must be refused");
        assert!(mistake("mod m = 3").starts_with("expected the path of a program"));
        assert!(mistake("mod m = prebuilt").starts_with("expected the path of a program"));
        assert!(mistake("prebuilt = 3").starts_with("expected string literal"));
        assert!(mistake(r#"prebuilt = "x", set(N = 3)"#).starts_with("a prebuilt artifact has its values already"));
        assert!(mistake(r#"mod m = prebuilt "x", element = "f16""#).ends_with("(--element)"));
        assert!(mistake(r#"mod m = "x", targets = ["sm_75"]"#).starts_with("`sm_75` is not a target"));
        assert!(mistake(r#"mod m = "x", targets = []"#).starts_with("no targets"));
        assert!(mistake(r#"mod m = "x", colour = 3"#).starts_with("options are"));
        assert!(mistake(r#"mod m = "x", element = "i8""#).starts_with("element types are"));
        assert!(mistake(r#"mod m = "x", set(N = "8")"#).starts_with("expected a number"));
    }
}
