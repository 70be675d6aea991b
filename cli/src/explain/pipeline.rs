//! A plan as a picture: kernels from top to bottom in the order in which they run, what they read on the left, what they
//! write on the right.

use super::Way;
use super::held::{Held, held, limits};
use super::statement::{Kind, Step, steps};
use crate::picture::{Anchor, Colour, Face, HAIRLINE, INK, Item, MUTED, Picture, Rect, width};
use crate::text::{bytes, seconds};
use egg::Language;
use nsa_codegen::plan::{Buffer, Kernel, Layout, Role, visit};
use nsa_codegen::term::context::Context;
use nsa_codegen::term::{AxisName, Term};
use std::collections::{BTreeMap, HashMap};

const MARGIN: f64 = 28.0;
/// Width of the columns of buffers.
const SIDE: f64 = 210.0;
/// Width of a kernel.
const KERNEL: f64 = 520.0;
/// Between the columns, room for arrows.
const GAP: f64 = 34.0;
/// Height of a line of a kernel.
const LINE: f64 = 20.0;
/// Height of each further line of what does not fit one.
const MORE: f64 = 15.0;
/// Most lines of one step.
const LINES: usize = 4;
/// Height of a buffer, with the space below it.
const PILL: f64 = 32.0;
/// Height of a kernel's head.
const HEAD: f64 = 62.0;
/// Between kernels.
const BELOW: f64 = 30.0;
const PAD: f64 = 12.0;

/// Arguments, workspaces, results: paper and edge.
const ROLES: [(Colour, Colour); 3] = [
    (Colour(243, 244, 246), Colour(156, 163, 175)),
    (Colour(243, 236, 252), Colour(150, 110, 200)),
    (Colour(231, 246, 236), Colour(70, 150, 95)),
];
const FRAME: Colour = Colour(250, 251, 252);
const LOOP: Colour = Colour(236, 241, 248);
const INNER: Colour = Colour(222, 231, 243);

/// The colour of what a step keeps busy.
fn colour(kind: Kind) -> Colour {
    match kind {
        Kind::Load => Colour(57, 112, 184),
        Kind::Matrix => Colour(236, 128, 48),
        Kind::Start | Kind::Scalar => Colour(148, 156, 168),
        Kind::Store => Colour(70, 150, 95),
    }
}

/// The picture.
pub fn pipeline(way: &Way) -> Picture {
    let plan = &way.variant.plan;
    let sizes = Sizes::new(way);
    let title = format!("{} on {}, {}", plan.name, way.lowered.target, way.variant.label);
    let whole = MARGIN + SIDE + GAP + KERNEL + GAP + SIDE + MARGIN;
    let mut picture = Picture { width: whole, height: 0.0, title: title.clone(), items: vec![] };
    let total = |role: Role| bytes(plan.buffers.iter().filter(|b| b.role == role).map(|b| sizes.bytes(b)).sum());
    let about = format!(
        "{} \u{b7} arguments {}, workspaces {}, results {} \u{b7} {} on {} at least",
        way.sizes(),
        total(Role::Argument),
        total(Role::Workspace),
        total(Role::Result),
        seconds(way.variant.candidate.cost.seconds()),
        way.lowered.machine.name,
    );
    picture.text(MARGIN, 40.0, title, 20.0, Face::Strong, INK);
    picture.text(MARGIN, 62.0, about, 13.0, Face::Regular, MUTED);
    legend(&mut picture, 88.0);
    let mut y = 122.0;
    // Which kernel wrote a buffer last.
    let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, kernel) in plan.kernels.iter().enumerate() {
        let (reads, writes) = (reads(way, kernel), writes(way, kernel));
        let steps = drawn(steps(plan, kernel));
        let own = HEAD + height(&steps, KERNEL - 2.0 * PAD) + PAD;
        let all = own.max(reads.len().max(writes.len()) as f64 * PILL + 8.0);
        let x = MARGIN + SIDE + GAP;
        let rect = Rect { x, y, width: KERNEL, height: all };
        picture.items.push(Item::Frame { rect, radius: 8.0, fill: Some(FRAME), stroke: Some(HAIRLINE) });
        head(&mut picture, way, &sizes, kernel, number, (x, y));
        body(&mut picture, &steps, x + PAD, y + HEAD, KERNEL - 2.0 * PAD, LOOP);
        for (place, buffer) in reads.iter().enumerate() {
            let at = (MARGIN, y + 8.0 + place as f64 * PILL);
            let from = writers.get(buffer.name.name()).map(|writer| format!("from {}", writer + 1));
            pill(&mut picture, &sizes, buffer, from.as_deref(), at);
            arrow(&mut picture, MARGIN + SIDE + 3.0, x - 3.0, at.1 + 12.0);
        }
        for (place, buffer) in writes.iter().enumerate() {
            let at = (x + KERNEL + GAP, y + 8.0 + place as f64 * PILL);
            pill(&mut picture, &sizes, buffer, None, at);
            arrow(&mut picture, x + KERNEL + 3.0, at.0 - 3.0, at.1 + 12.0);
            writers.insert(buffer.name.name(), number);
        }
        if number + 1 < plan.kernels.len() {
            let (middle, end) = (x + KERNEL / 2.0, y + all);
            let points = vec![(middle, end + 4.0), (middle, end + BELOW - 4.0)];
            picture.items.push(Item::Line { points, colour: HAIRLINE, width: 1.5, arrow: true });
        }
        y += all + BELOW;
    }
    picture.height = y - BELOW + MARGIN;
    picture
}

/// Bytes of buffers and blocks of grids, at the lengths that the way was costed for.
struct Sizes {
    lengths: HashMap<AxisName, i64>,
}

impl Sizes {
    fn new(way: &Way) -> Sizes {
        let mut lengths = Context::lengths(way.program, &way.variant.sizes);
        for axis in &way.variant.plan.axes {
            if let Some(constant) = way.variant.plan.constant(axis.name) {
                lengths.insert(axis.name, constant);
            }
        }
        Sizes { lengths }
    }

    fn length(&self, axis: AxisName) -> usize {
        self.lengths.get(&axis).and_then(|n| usize::try_from(*n).ok()).unwrap_or(0)
    }

    fn bytes(&self, buffer: &Buffer) -> usize {
        let elements: usize = buffer.axes.iter().map(|axis| self.length(*axis)).product();
        elements * buffer.dtype.bytes() as usize
    }

    fn blocks(&self, kernel: &Kernel) -> usize {
        kernel.grid.iter().map(|axis| self.length(axis.axis).div_ceil(axis.tile.max(1) as usize)).product()
    }
}

/// The buffers that a kernel reads, in the order of the plan.
fn reads<'a>(way: &Way<'a>, kernel: &Kernel) -> Vec<&'a Buffer> {
    let plan = &way.variant.plan;
    let mut seen = vec![false; plan.terms.len()];
    let mut names = vec![];
    let mut pending = vec![];
    visit::terms(kernel, &mut |id| pending.push(id));
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[usize::from(id)], true) {
            continue;
        }
        if let Term::Tensor(name) = plan.terms[id] {
            names.push(name);
        }
        pending.extend(plan.terms[id].children());
    }
    plan.buffers.iter().filter(|buffer| names.contains(&buffer.name)).collect()
}

fn writes<'a>(way: &Way<'a>, kernel: &Kernel) -> Vec<&'a Buffer> {
    let mut names = vec![];
    visit::stores(kernel, &mut |name| names.push(name));
    way.variant.plan.buffers.iter().filter(|buffer| names.contains(&buffer.name)).collect()
}

fn legend(picture: &mut Picture, y: f64) {
    let mut x = MARGIN;
    let mut entry = |mark: &dyn Fn(f64) -> Item, text: &str| {
        let mark = mark(x);
        picture.items.push(mark);
        picture.text(x + 18.0, y, text, 12.0, Face::Regular, MUTED);
        x += 18.0 + width(text, 12.0, Face::Regular) + 22.0;
    };
    let names = [
        (Kind::Load, "reads memory"),
        (Kind::Matrix, "matrix units"),
        (Kind::Scalar, "element by element"),
        (Kind::Store, "writes memory"),
    ];
    for (kind, text) in names {
        entry(&|x| dot(x + 5.0, y - 4.0, colour(kind)), text);
    }
    for ((fill, stroke), text) in ROLES.into_iter().zip(["argument", "workspace", "result"]) {
        let rect = |x| Rect { x, y: y - 9.5, width: 12.0, height: 11.0 };
        entry(&|x| Item::Frame { rect: rect(x), radius: 3.0, fill: Some(fill), stroke: Some(stroke) }, text);
    }
}

fn dot(x: f64, y: f64, colour: Colour) -> Item {
    let rect = Rect { x: x - 4.0, y: y - 4.0, width: 8.0, height: 8.0 };
    Item::Frame { rect, radius: 4.0, fill: Some(colour), stroke: None }
}

/// A kernel's name, what it takes, its grid.
fn head(picture: &mut Picture, way: &Way, sizes: &Sizes, kernel: &Kernel, number: usize, (x, y): (f64, f64)) {
    let name = format!("{}  {}", number + 1, kernel.name);
    picture.text(x + PAD, y + 24.0, name, 15.0, Face::Strong, INK);
    let costs = &way.variant.candidate.cost.kernels;
    let own = |cost: &&nsa_codegen::term::cost::KernelCost| {
        cost.definitions.iter().map(|name| name.name()).collect::<Vec<_>>().join("_") == kernel.name
    };
    if let Some(cost) = costs.iter().find(own) {
        let at = (x + KERNEL - PAD, y + 24.0);
        picture.anchored(at, seconds(cost.seconds), 13.0, Face::Strong, INK, Anchor::End);
    }
    let axes = |list: Vec<String>| list.join(" \u{d7} ");
    let grid = kernel.grid.iter().map(|axis| match axis.tile {
        1 => axis.axis.name().to_string(),
        tile => format!("{}/{tile}", axis.axis.name()),
    });
    let rows = kernel.rows.iter().map(|span| format!("{} {}", span.count, span.axis.name()));
    let threads = match kernel.layout {
        Layout::Elements { threads } => format!("{threads} threads"),
        Layout::Fragments { rows, columns, .. } => format!("{} warps", rows * columns),
    };
    let grid = axes(grid.collect());
    let mut text = format!("{} blocks ({grid}), {threads}", sizes.blocks(kernel));
    if !kernel.rows.is_empty() {
        text += &format!(", rows {}", axes(rows.collect()));
    }
    let held = limits(way.lowered.target).and_then(|limits| held(way, number, &limits));
    if let Some(Held { takes, spilled, blocks, .. }) = held {
        let many = match (spilled, blocks) {
            (None, _) => format!("at most {blocks}"),
            (Some(_), 1) => "1 block".to_string(),
            (Some(_), _) => format!("{blocks} blocks"),
        };
        let shared = match takes.shared {
            0 => String::new(),
            shared => format!(", {:.0} KB shared", f64::from(shared) / 1024.0),
        };
        text += &format!("; {many} per SM{shared}");
    }
    picture.text(x + PAD, y + 44.0, fit(&text, KERNEL - 2.0 * PAD, 12.0, Face::Regular), 12.0, Face::Regular, MUTED);
}

/// The steps that a picture has room for: what only sets a variable to a constant is left out.
fn drawn(steps: Vec<Step>) -> Vec<Step> {
    let inner = |step| match step {
        Step::Loop { head, bounds, body } => Step::Loop { head, bounds, body: drawn(body) },
        line => line,
    };
    steps.into_iter().filter(|step| !matches!(step, Step::Line(Kind::Start, _))).map(inner).collect()
}

/// Height of steps that have some room to the right.
fn height(steps: &[Step], room: f64) -> f64 {
    let one = |step: &Step| match step {
        Step::Line(_, text) => LINE + MORE * (wrap(text, room - 18.0, 12.0).len() - 1) as f64,
        Step::Loop { bounds, body, .. } => around(bounds, room) + height(body, room - 16.0) + 8.0,
    };
    steps.iter().map(one).sum()
}

/// Height of a loop's frame without what is repeated.
fn around(bounds: &str, room: f64) -> f64 {
    48.0 + MORE * (wrap(bounds, room - 16.0, 10.5).len() - 1) as f64
}

/// Steps from a point downwards; loops in frames. Gives where it ends.
fn body(picture: &mut Picture, steps: &[Step], x: f64, y: f64, room: f64, frame: Colour) -> f64 {
    let mut y = y;
    for step in steps {
        match step {
            Step::Line(kind, text) => {
                picture.items.push(dot(x + 6.0, y + 9.0, colour(*kind)));
                for (number, line) in wrap(text, room - 18.0, 12.0).into_iter().enumerate() {
                    let below = MORE * number as f64;
                    picture.text(x + 18.0, y + 13.0 + below, line, 12.0, Face::Code, INK);
                }
            }
            Step::Loop { head, bounds, body: steps } => {
                let around = around(bounds, room);
                let rect = Rect { x, y: y + 2.0, width: room, height: around + height(steps, room - 16.0) };
                picture.items.push(Item::Frame { rect, radius: 6.0, fill: Some(frame), stroke: None });
                let head = fit(head, room - 16.0, 12.0, Face::Strong);
                picture.text(x + 8.0, y + 19.0, head, 12.0, Face::Strong, INK);
                for (number, line) in wrap(bounds, room - 16.0, 10.5).into_iter().enumerate() {
                    let below = MORE * number as f64;
                    picture.text(x + 8.0, y + 35.0 + below, line, 10.5, Face::Code, MUTED);
                }
                body(picture, steps, x + 8.0, y + around - 4.0, room - 16.0, INNER);
            }
        }
        y += height(std::slice::from_ref(step), room);
    }
    y
}

/// Code in lines that fit, broken between words, those after the first indented; cut where there are too many.
fn wrap(text: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut line = String::new();
    for word in text.split(' ') {
        let longer = if line.is_empty() { word.to_string() } else { format!("{line} {word}") };
        if line.trim().is_empty() || lines.len() + 1 == LINES || width(&longer, size, Face::Code) <= 0.96 * room {
            line = longer;
        } else {
            lines.push(std::mem::replace(&mut line, format!("    {word}")));
        }
    }
    lines.push(fit(&line, room, size, Face::Code));
    lines
}

/// A buffer: its name, who wrote it, how large it is.
fn pill(picture: &mut Picture, sizes: &Sizes, buffer: &Buffer, from: Option<&str>, (x, y): (f64, f64)) {
    let (fill, stroke) = match buffer.role {
        Role::Argument => ROLES[0],
        Role::Workspace => ROLES[1],
        Role::Result => ROLES[2],
    };
    let rect = Rect { x, y, width: SIDE, height: 24.0 };
    picture.items.push(Item::Frame { rect, radius: 6.0, fill: Some(fill), stroke: Some(stroke) });
    let size = bytes(sizes.bytes(buffer));
    let note = from.map_or(size.clone(), |from| format!("{from} \u{b7} {size}"));
    let taken = width(&note, 11.0, Face::Regular) + 26.0;
    let name = fit(buffer.name.name(), SIDE - taken, 12.0, Face::Code);
    picture.text(x + 9.0, y + 16.5, name, 12.0, Face::Code, INK);
    picture.anchored((x + SIDE - 9.0, y + 16.5), note, 11.0, Face::Regular, MUTED, Anchor::End);
}

fn arrow(picture: &mut Picture, from: f64, to: f64, y: f64) {
    picture.items.push(Item::Line { points: vec![(from, y), (to, y)], colour: MUTED, width: 1.2, arrow: true });
}

/// A text, cut where it would be too long. Fonts of readers differ a little from ours: some room is left.
fn fit(text: &str, room: f64, size: f64, face: Face) -> String {
    let fits = |text: &str| width(text, size, face) <= 0.96 * room;
    if fits(text) {
        return text.to_string();
    }
    let mut text = text.to_string();
    while !text.is_empty() && !fits(&format!("{text} \u{2026}")) {
        text.pop();
    }
    format!("{} \u{2026}", text.trim_end())
}
