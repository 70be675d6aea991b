//! The picture of a program's branches: queries downwards, keys to the right.

use super::pattern::{Pattern, share};
use super::ranges::{Ranges, count, difference, union};
use crate::picture::{Anchor, Colour, Face, HAIRLINE, INK, Item, MUTED, Picture, Rect, width};
use std::collections::BTreeMap;

/// Pairs that nobody looks at.
const SKIPPED: Colour = Colour(238, 240, 244);
/// Pairs that a condition on positions lets through.
const COMPUTED: Colour = Colour(57, 112, 184);
/// Pairs whose key is seen through a compressed one.
const COMPRESSED: Colour = Colour(150, 190, 232);
/// Pairs whose key a list chose.
const CHOSEN: Colour = Colour(236, 128, 48);

/// Most cells along an edge of a panel; more pairs than that share cells, shaded by how many of them are seen.
const CELLS: usize = 256;
/// How long the edge of a panel is, about.
const EDGE: f64 = 280.0;
/// Shades between nothing and everything.
const SHADES: f64 = 12.0;
/// Least edge of a panel along an axis of several values: room for some numbers and the axis's name.
const LEAST: f64 = 84.0;
/// The same for an axis of a single value.
const SINGLE: f64 = 28.0;
/// Least room for what is written above and below a panel.
const WORDS: f64 = 200.0;
/// Of the numbers along an axis.
const SMALL: f64 = 10.0;

const MARGIN: f64 = 28.0;
const GAP: f64 = 34.0;
/// Room for the labels of the queries.
const LEFT: f64 = 46.0;
/// Room above a panel's cells for its title and the labels of the keys, and for each line of conditions.
const ABOVE: f64 = 62.0;
const LINE: f64 = 15.0;
/// Most lines of conditions.
const LINES: usize = 4;
/// Room below it: two lines of what it amounts to.
const BELOW: f64 = 50.0;
const COLUMNS: usize = 4;

/// One panel.
struct Panel<'a> {
    title: String,
    condition: String,
    facts: Vec<String>,
    /// What is drawn, no pair in two of them.
    layers: Vec<(Colour, Vec<Ranges>)>,
    queries: usize,
    keys: usize,
    query_name: &'a str,
    key_name: &'a str,
}

/// A picture with a panel for each pattern and, where several are over the same keys, one of all together. `about` says what
/// was evaluated.
pub fn figure(title: &str, about: &str, patterns: &[Pattern]) -> Picture {
    let unions = unions(patterns);
    let mut panels: Vec<Panel> = patterns.iter().map(panel).collect();
    panels.extend(unions.iter().map(|all| all.panel()));
    let scales: Vec<Scale> = panels.iter().map(|panel| Scale::new(panel.queries, panel.keys)).collect();
    let columns = panels.len().clamp(1, COLUMNS);
    let words = panels.iter().map(Panel::words).fold(WORDS, f64::max);
    let edge = scales.iter().map(|scale| scale.width()).fold(words, f64::max);
    let step = LEFT + edge + GAP;
    let mut picture = Picture { width: 0.0, height: 0.0, title: format!("{title}: {about}"), items: vec![] };
    let mut y = 84.0;
    for (row, scales) in panels.chunks(columns).zip(scales.chunks(columns)) {
        let lines = row.iter().map(|panel| lines(&panel.condition, edge).len()).max().unwrap_or(0);
        let above = ABOVE + LINE * lines as f64;
        let height = scales.iter().map(Scale::height).fold(0.0, f64::max);
        for (column, (panel, scale)) in row.iter().zip(scales).enumerate() {
            let x = MARGIN + LEFT + column as f64 * step;
            picture.text(x, y + 18.0, &panel.title, 16.0, Face::Strong, INK);
            for (number, line) in self::lines(&panel.condition, edge).into_iter().enumerate() {
                picture.text(x, y + 36.0 + LINE * number as f64, line, 11.0, Face::Code, MUTED);
            }
            panel.draw(&mut picture, scale, x, y + above);
        }
        y += above + height + BELOW + 30.0;
    }
    let legend = legend(patterns);
    let legend_width: f64 = legend.iter().map(|(_, text)| 22.0 + width(text, 13.0, Face::Regular) + 26.0).sum();
    let content = (columns as f64 * step - GAP).max(legend_width).max(width(about, 13.0, Face::Regular));
    picture.text(MARGIN, 40.0, title, 20.0, Face::Strong, INK);
    picture.text(MARGIN, 62.0, about, 13.0, Face::Regular, MUTED);
    let mut x = MARGIN;
    for (colour, text) in &legend {
        let rect = Rect { x, y: y - 11.0, width: 14.0, height: 14.0 };
        picture.items.push(Item::Frame { rect, radius: 2.0, fill: Some(*colour), stroke: None });
        picture.text(x + 22.0, y, text, 13.0, Face::Regular, INK);
        x += 22.0 + width(text, 13.0, Face::Regular) + 26.0;
    }
    picture.width = (content + 2.0 * MARGIN).ceil();
    picture.height = y + 26.0;
    picture
}

/// The colours that occur, with their meaning.
fn legend(patterns: &[Pattern]) -> Vec<(Colour, String)> {
    let any = |test: &dyn Fn(&Pattern) -> bool| patterns.iter().any(test);
    let some = |sets: &[Ranges]| sets.iter().any(|set| !set.is_empty());
    let beyond = |p: &Pattern| p.seen.iter().zip(&p.chosen).any(|(seen, chosen)| count(seen) > count(chosen));
    let mut legend = vec![];
    if any(&|p| !p.is_compressed() && beyond(p)) {
        legend.push((COMPUTED, "computed".to_string()));
    }
    if any(&|p| some(&p.chosen)) {
        let mut lists: Vec<String> = vec![];
        for name in patterns.iter().flat_map(|p| &p.lists) {
            if !lists.contains(name) {
                lists.push(name.clone());
            }
        }
        legend.push((CHOSEN, format!("computed, picked by {}", quoted(&lists))));
    }
    if any(&|p| p.is_compressed() && beyond(p)) {
        legend.push((COMPRESSED, "seen through a compressed key".to_string()));
    }
    if any(&|p| p.seen_share() < 1.0) {
        legend.push((SKIPPED, "skipped".to_string()));
    }
    legend
}

fn panel(pattern: &Pattern) -> Panel<'_> {
    let colour = if pattern.is_compressed() { COMPRESSED } else { COMPUTED };
    let computed = percent(pattern.computed_share());
    let facts = match pattern.is_compressed() {
        true => vec![
            format!("{computed} of the pairs computed"),
            format!("{} compressed keys {} stand for {}", pattern.folded, pattern.axis, percent(pattern.seen_share())),
        ],
        false if pattern.chosen.iter().all(Vec::is_empty) => vec![format!("{computed} of the pairs computed")],
        false => {
            let lists = quoted(&pattern.lists);
            let part = match pattern.chosen_share() {
                all if all == pattern.seen_share() => "picked".to_string(),
                part => format!("{} picked", percent(part)),
            };
            vec![format!("{computed} of the pairs computed"), format!("{part} by {lists}")]
        }
    };
    Panel {
        title: pattern.name.clone(),
        condition: pattern.condition.clone(),
        facts,
        layers: vec![(colour, rows(&pattern.seen, &pattern.chosen, difference)), (CHOSEN, pattern.chosen.clone())],
        queries: pattern.seen.len(),
        keys: pattern.length,
        query_name: pattern.queries.as_deref().unwrap_or(""),
        key_name: &pattern.keys,
    }
}

/// An operation on the sets of every query.
fn rows(a: &[Ranges], b: &[Ranges], of: fn(&Ranges, &Ranges) -> Ranges) -> Vec<Ranges> {
    a.iter().zip(b).map(|(a, b)| of(a, b)).collect()
}

/// What several branches see together.
struct Union<'a> {
    first: &'a Pattern,
    compressed: Vec<Ranges>,
    computed: Vec<Ranges>,
    chosen: Vec<Ranges>,
    names: Vec<&'a str>,
    scores: usize,
}

fn unions(patterns: &[Pattern]) -> Vec<Union<'_>> {
    let mut groups: BTreeMap<(&str, Option<&str>), Vec<&Pattern>> = BTreeMap::new();
    for pattern in patterns {
        groups.entry((&pattern.keys, pattern.queries.as_deref())).or_default().push(pattern);
    }
    let several = groups.into_values().filter(|group| group.len() > 1);
    let mut unions = vec![];
    for group in several {
        let empty = vec![vec![]; group[0].seen.len()];
        let mut all = Union {
            first: group[0],
            compressed: empty.clone(),
            computed: empty.clone(),
            chosen: empty,
            names: group.iter().map(|pattern| pattern.name.as_str()).collect(),
            scores: group.iter().map(|pattern| pattern.computed).sum(),
        };
        for pattern in group {
            let seen = if pattern.is_compressed() { &mut all.compressed } else { &mut all.computed };
            *seen = rows(seen, &pattern.seen, union);
            all.chosen = rows(&all.chosen, &pattern.chosen, union);
        }
        unions.push(all);
    }
    unions
}

impl Union<'_> {
    fn panel(&self) -> Panel<'_> {
        let seen: usize = self.compressed.iter().zip(&self.computed).map(|(a, b)| count(&union(a, b))).sum();
        let pairs = self.computed.len() * self.first.length;
        let scores = percent(share(self.scores, pairs));
        Panel {
            title: "together".into(),
            condition: self.names.join(" + "),
            facts: vec![format!("{} of the pairs seen", percent(share(seen, pairs))), format!("by computing {scores}")],
            layers: vec![
                (COMPRESSED, rows(&self.compressed, &self.computed, difference)),
                (COMPUTED, rows(&self.computed, &self.chosen, difference)),
                (CHOSEN, self.chosen.clone()),
            ],
            queries: self.computed.len(),
            keys: self.first.length,
            query_name: self.first.queries.as_deref().unwrap_or(""),
            key_name: &self.first.keys,
        }
    }
}

/// Names of lists in a sentence.
fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\u{201c}{name}\u{201d}")).collect::<Vec<_>>().join(" or ")
}

/// A share as people read it.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        x if x == 0.0 || x == 100.0 => format!("{x:.0}%"),
        x if x < 0.095 => format!("{x:.2}%"),
        x => format!("{x:.1}%"),
    }
}

/// How an axis becomes cells, and cells pixels.
#[derive(Clone, Copy)]
struct Edge {
    /// Values of the axis.
    length: usize,
    /// Values per cell.
    values: usize,
    /// Pixels per cell.
    pixels: f64,
}

impl Edge {
    /// The edge of an axis beside one of at most `longest` values: as the other one, but for what would be too thin.
    fn new(length: usize, longest: usize) -> Edge {
        let values = longest.div_ceil(CELLS);
        // Whole pixels, so that cells are equal, unless there are few of them.
        let pixels = (EDGE / longest.div_ceil(values) as f64).floor().max(1.0);
        let least = if length > 1 { LEAST } else { SINGLE };
        if length.div_ceil(values) as f64 * pixels >= least {
            return Edge { length, values, pixels };
        }
        // As many cells as there are pixels, or values.
        let values = (length / least as usize).clamp(1, values);
        let pixels = (least / length.div_ceil(values).max(1) as f64).ceil().max(pixels);
        Edge { length, values, pixels }
    }

    /// Cells.
    fn cells(&self) -> usize {
        self.length.div_ceil(self.values)
    }

    /// Where a value begins, in pixels.
    fn at(&self, value: usize) -> f64 {
        value as f64 / self.values as f64 * self.pixels
    }

    /// The whole edge, in pixels.
    fn extent(&self) -> f64 {
        self.at(self.length)
    }

    /// Where numbers stand: no two closer than `room` of the larger one asks for.
    fn ticks(&self, room: impl Fn(usize) -> f64) -> Vec<usize> {
        let all = ticks(self.length);
        let needed = room(all.last().copied().unwrap_or(0));
        let apart = |every: &usize| all.get(*every).is_none_or(|n| self.at(*n) >= needed);
        let every = (1..=all.len().max(1)).find(apart).unwrap_or(1);
        all.into_iter().step_by(every).collect()
    }
}

/// The edges of a panel.
struct Scale {
    queries: Edge,
    keys: Edge,
}

impl Scale {
    fn new(queries: usize, keys: usize) -> Scale {
        let longest = queries.max(keys).max(1);
        Scale { queries: Edge::new(queries, longest), keys: Edge::new(keys, longest) }
    }

    fn width(&self) -> f64 {
        self.keys.extent()
    }

    fn height(&self) -> f64 {
        self.queries.extent()
    }
}

impl Panel<'_> {
    /// Room for its title and for what it amounts to.
    fn words(&self) -> f64 {
        let fact = |(number, fact): (usize, &String)| {
            width(fact, 13.0, if number == 0 { Face::Strong } else { Face::Regular })
        };
        self.facts.iter().enumerate().map(fact).fold(width(&self.title, 16.0, Face::Strong), f64::max)
    }

    /// The cells, with what belongs around them.
    fn draw(&self, picture: &mut Picture, scale: &Scale, x: f64, y: f64) {
        let (width, height) = (scale.width(), scale.height());
        let rect = Rect { x, y, width, height };
        picture.items.push(Item::Cells(SKIPPED, vec![rect]));
        for (colour, cells) in self.cells(scale) {
            let place = |(left, top, right, bottom): (usize, usize, usize, usize)| Rect {
                x: x + left as f64 * scale.keys.pixels,
                y: y + top as f64 * scale.queries.pixels,
                width: (right as f64 * scale.keys.pixels).min(width) - left as f64 * scale.keys.pixels,
                height: (bottom as f64 * scale.queries.pixels).min(height) - top as f64 * scale.queries.pixels,
            };
            picture.items.push(Item::Cells(colour, cells.into_iter().map(place).collect()));
        }
        self.axes(picture, scale, x, y);
        for (number, fact) in self.facts.iter().enumerate() {
            let (face, colour) = if number == 0 { (Face::Strong, INK) } else { (Face::Regular, MUTED) };
            picture.text(x, y + height + 22.0 + 18.0 * number as f64, fact, 13.0, face, colour);
        }
    }

    /// Numbers and names along the edges.
    fn axes(&self, picture: &mut Picture, scale: &Scale, x: f64, y: f64) {
        let tick = |points| Item::Line { points, colour: HAIRLINE, width: 1.0, arrow: false };
        // Side by side with a little between them; below each other, a line each.
        for n in scale.keys.ticks(|n| width(&n.to_string(), SMALL, Face::Regular) + 8.0) {
            let at = x + scale.keys.at(n);
            picture.items.push(tick(vec![(at, y - 4.0), (at, y)]));
            picture.anchored((at, y - 8.0), n.to_string(), SMALL, Face::Regular, MUTED, Anchor::Middle);
        }
        let name = format!("key {} \u{2192}", self.key_name);
        let end = scale.width().max(width(&name, SMALL, Face::Regular));
        picture.anchored((x + end, y - 21.0), name, SMALL, Face::Regular, MUTED, Anchor::End);
        if self.query_name.is_empty() {
            picture.anchored(
                (x - 8.0, y + scale.height() / 2.0 + 4.0),
                "query",
                SMALL,
                Face::Regular,
                MUTED,
                Anchor::End,
            );
            return;
        }
        for n in scale.queries.ticks(|_| SMALL + 2.0) {
            let at = y + scale.queries.at(n);
            picture.items.push(tick(vec![(x - 4.0, at), (x, at)]));
            picture.anchored((x - 8.0, at + 3.5), n.to_string(), SMALL, Face::Regular, MUTED, Anchor::End);
        }
        picture.items.push(Item::Text {
            at: (x - 36.0, y + scale.height()),
            text: format!("\u{2190} query {}", self.query_name),
            size: SMALL,
            face: Face::Regular,
            colour: MUTED,
            anchor: Anchor::Start,
            upwards: true,
        });
    }

    /// Rectangles of cells of one colour each: (left, top, right, bottom).
    fn cells(&self, scale: &Scale) -> BTreeMap<Colour, Vec<(usize, usize, usize, usize)>> {
        let (columns, along) = (scale.keys.cells(), scale.queries.values);
        let mut done: BTreeMap<Colour, Vec<(usize, usize, usize, usize)>> = BTreeMap::new();
        // Rectangles that end in the row before, by their left and right edges and colour.
        let mut open: BTreeMap<(usize, usize, Colour), usize> = BTreeMap::new();
        let rows = scale.queries.cells();
        for row in 0..=rows {
            let queries = row * along..((row + 1) * along).min(self.queries);
            let colours = if row < rows { self.row(queries, columns, scale.keys.values) } else { vec![] };
            let mut runs = BTreeMap::new();
            let mut start = 0;
            for column in 0..colours.len() {
                if colours.get(column + 1) != Some(&colours[column]) {
                    if let Some(colour) = colours[column] {
                        let key = (start, column + 1, colour);
                        runs.insert(key, open.remove(&key).unwrap_or(row));
                    }
                    start = column + 1;
                }
            }
            for ((left, right, colour), top) in std::mem::replace(&mut open, runs) {
                done.entry(colour).or_default().push((left, top, right, row));
            }
        }
        done
    }

    /// The colours of a row of cells; None where nothing is seen.
    fn row(&self, queries: std::ops::Range<usize>, columns: usize, values: usize) -> Vec<Option<Colour>> {
        let mut colours = vec![None; columns];
        for (colour, sets) in &self.layers {
            let mut pairs = vec![0usize; columns];
            for set in &sets[queries.clone()] {
                for range in set {
                    let (from, to) = (range.start / values, range.end.div_ceil(values));
                    for (column, seen) in pairs.iter_mut().enumerate().take(to).skip(from) {
                        let (first, last) = (column * values, (column + 1) * values);
                        *seen += range.end.min(last) - range.start.max(first);
                    }
                }
            }
            for (column, pairs) in pairs.into_iter().enumerate().filter(|(_, pairs)| *pairs > 0) {
                let keys = values.min(self.keys - column * values);
                let full = share(pairs, keys * queries.len());
                // A few pairs of many are to be seen as well.
                let shade = (full.powf(0.7) * SHADES).ceil() / SHADES;
                let below = colours[column].unwrap_or(SKIPPED);
                colours[column] = Some(below.towards(*colour, shade));
            }
        }
        colours
    }
}

/// Where numbers stand along an axis: quarters if they are whole, else steps of 1, 2 or 5 times a power of ten.
fn ticks(length: usize) -> Vec<usize> {
    if length < 4 {
        return vec![];
    }
    let mut step = length / 4;
    if !length.is_multiple_of(4) {
        let power = 10usize.pow(step.ilog10());
        step = [1, 2, 5].map(|n| n * power).into_iter().rfind(|n| *n <= step).unwrap_or(1);
    }
    (0..=length / step).map(|n| n * step).collect()
}

/// A condition in lines that fit: broken before what `&&` joins, else between words, and cut where there are too many.
fn lines(condition: &str, room: f64) -> Vec<String> {
    let fits = |text: &str| width(text, 11.0, Face::Code) <= room;
    let mut lines: Vec<String> = vec![];
    let mut add = |part: &str| match lines.last_mut() {
        Some(line) if fits(&format!("{line} {part}")) => *line = format!("{line} {part}"),
        _ => lines.push(part.to_string()),
    };
    for part in condition.split_inclusive(" && ").map(str::trim).filter(|part| !part.is_empty()) {
        match fits(part) {
            true => add(part),
            false => part.split_whitespace().for_each(&mut add),
        }
    }
    let cut = lines.len() > LINES;
    lines.truncate(LINES);
    let last = lines.len();
    for (number, line) in lines.iter_mut().enumerate() {
        if !fits(line) || cut && number + 1 == last {
            while !line.is_empty() && !fits(&format!("{line} \u{2026}")) {
                line.pop();
            }
            *line = format!("{} \u{2026}", line.trim_end());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_along_an_axis() {
        assert_eq!(ticks(256), [0, 64, 128, 192, 256]);
        assert_eq!(ticks(333), [0, 50, 100, 150, 200, 250, 300]);
        assert_eq!(ticks(7), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ticks(1), [0usize; 0]);
    }

    /// Numbers do not touch each other, and no edge is a hair, whatever the lengths.
    #[test]
    fn edges_have_room_for_their_numbers() {
        for (length, longest) in [(16, 4096), (2, 100_000), (256, 8192), (1000, 4096), (5, 7), (70, 70), (300, 4096)] {
            let edge = Edge::new(length, longest);
            assert!(edge.extent() >= LEAST && edge.extent() <= 2.0 * EDGE, "{length} {longest}: {}", edge.extent());
            for room in [12.0, 40.0] {
                let places: Vec<f64> = edge.ticks(|_| room).into_iter().map(|n| edge.at(n)).collect();
                assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= room), "{length} {longest}: {places:?}");
            }
        }
        // A square stays one.
        assert_eq!((Edge::new(70, 70).values, Edge::new(70, 70).pixels), (1, 4.0));
        assert_eq!(Edge::new(1, 4096).extent(), SINGLE);
        assert_eq!(Edge::new(0, 1).extent(), 0.0);
    }

    #[test]
    fn conditions_in_lines() {
        assert_eq!(lines("a && b", 200.0), ["a && b"]);
        assert_eq!(lines("s <= pos(t) && pos(t) < s + 512", 150.0), ["s <= pos(t) &&", "pos(t) < s + 512"]);
        assert_eq!(lines("(s < 2 || pos(t) < s + 512)", 120.0), ["(s < 2 || pos(t) <", "s + 512)"]);
        let long = lines(&"s <= pos(t) && ".repeat(9), 150.0);
        assert_eq!(long.len(), LINES);
        assert!(long[LINES - 1].ends_with('\u{2026}'));
        for line in long.iter().chain(&lines(&"x".repeat(99), 150.0)) {
            assert!(width(line, 11.0, Face::Code) <= 150.0, "{line}");
        }
        assert_eq!(lines("", 100.0), [""; 0]);
    }

    #[test]
    fn shares_in_percent() {
        assert_eq!(percent(0.12345), "12.3%");
        assert_eq!(percent(0.0004), "0.04%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.0), "0%");
    }
}
