//! Plans written by hand.

use egg::{Id, RecExpr};
use nsa_codegen::plan::*;
use nsa_codegen::term::{AxisName, Monoid, TensorName, Term, Type};

/// A plan under construction.
pub struct Builder {
    terms: RecExpr<Term>,
    axes: Vec<PlanAxis>,
    buffers: Vec<Buffer>,
}

pub fn axis(name: &str) -> AxisName {
    AxisName::new(name)
}

pub fn span(name: &str, count: u32) -> Span {
    Span { axis: axis(name), count }
}

impl Builder {
    pub fn new() -> Self {
        Builder { terms: RecExpr::default(), axes: vec![], buffers: vec![] }
    }
    /// Adds a term given as text.
    pub fn term(&mut self, text: &str) -> Id {
        let parsed: RecExpr<Term> = text.parse().expect(text);
        let base = self.terms.as_ref().len();
        for node in parsed.as_ref() {
            let node = egg::Language::map_children(node.clone(), |child| Id::from(usize::from(child) + base));
            self.terms.add(node);
        }
        Id::from(self.terms.as_ref().len() - 1)
    }
    pub fn constant(&mut self, name: &str, extent: i64) {
        self.axes.push(PlanAxis { name: axis(name), extent: PlanExtent::Const(extent) });
    }
    pub fn runtime(&mut self, name: &str) {
        self.axes.push(PlanAxis { name: axis(name), extent: PlanExtent::Runtime });
    }
    pub fn buffer(&mut self, name: &str, axes: &[&str], dtype: Type, role: Role) {
        let axes = axes.iter().map(|a| axis(a)).collect();
        self.buffers.push(Buffer { name: TensorName::new(name), axes, dtype, role });
    }
    pub fn set(&mut self, var: Var, expr: &str) -> Statement {
        Statement::Set { var, expr: self.term(expr) }
    }
    pub fn mask(&mut self, var: Var, keep: &str, otherwise: f64) -> Statement {
        Statement::Mask { var, keep: self.term(keep), otherwise }
    }
    pub fn store(&mut self, buffer: &str, index: &[&str], value: &str, columns: Option<Span>) -> Statement {
        let index = index.iter().map(|i| self.term(i)).collect();
        Statement::Store { buffer: TensorName::new(buffer), index, value: self.term(value), rows: true, columns }
    }
    pub fn tile(&mut self, label: &str, slow: TileAxis, fast: Span, dtype: Type, stages: u32) -> Tile {
        let index: Vec<String> = self
            .buffers
            .iter()
            .find(|b| b.name.name() == label)
            .expect("a tile of a buffer")
            .axes
            .iter()
            .map(|a| a.to_string())
            .collect();
        let element = self.term(&format!("(load ${label} {})", index.join(" ")));
        Tile { label: label.into(), slow, fast, element, copy: true, dtype, stages }
    }
    pub fn finish(self, name: &str, kernels: Vec<Kernel>) -> Plan {
        Plan { name: name.into(), axes: self.axes, buffers: self.buffers, kernels, terms: self.terms }
    }
}

pub fn variable(label: &str, rows: bool, columns: Option<Span>) -> Variable {
    Variable { label: label.into(), rows, columns }
}

/// How a kernel of attention is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub tokens: u32,
    pub heads: u32,
    pub depth: u32,
    pub width: u32,
    pub warps: u32,
    pub repeat: u32,
    pub column_warps: u32,
    pub keys: u32,
    pub stages: u32,
    pub dtype: Type,
}

pub fn fetch(tile: u32) -> Statement {
    Statement::Fetch { tile }
}

/// Causal attention with grouped heads: `o[t, g, r, e]` and `lse[t, g, r]`.
pub fn attention(cut: Cut) -> Plan {
    let mut b = Builder::new();
    b.runtime("t");
    b.runtime("s");
    b.constant("g", 2);
    b.constant("r", cut.heads.into());
    b.constant("d", cut.depth.into());
    b.constant("e", cut.width.into());
    b.buffer("q", &["t", "g", "r", "d"], cut.dtype, Role::Argument);
    b.buffer("k", &["s", "g", "d"], cut.dtype, Role::Argument);
    b.buffer("v", &["s", "g", "e"], cut.dtype, Role::Argument);
    b.buffer("o", &["t", "g", "r", "e"], cut.dtype, Role::Result);
    b.buffer("lse", &["t", "g", "r"], Type::F32, Role::Result);
    let keys = span("s", cut.keys);
    let (depth, width) = (span("d", cut.depth), span("e", cut.width));
    let tiles = vec![
        b.tile("q", TileAxis::Rows, depth.clone(), cut.dtype, 1),
        b.tile("k", TileAxis::Span(keys.clone()), depth.clone(), cut.dtype, cut.stages),
        b.tile("v", TileAxis::Span(keys.clone()), width.clone(), cut.dtype, cut.stages),
    ];
    let variables = vec![
        variable("m", true, None),
        variable("l", true, None),
        variable("o", true, Some(width.clone())),
        variable("p", true, Some(keys.clone())),
    ];
    let scale = std::f64::consts::LOG2_E / f64::from(cut.depth).sqrt();
    let last = format!("(imin (i+ @t {}) (i- #t 1))", cut.tokens - 1);
    let body = vec![
        fetch(1),
        Statement::Dot { var: 3, a: Operand::Tile(0), b: 1, depth, accumulate: false },
        b.mask(3, "(and (i< @s #s) (i<= @s @t))", f64::NEG_INFINITY),
        Statement::Online { score: 3, max: 0, scale, rescale: vec![1, 2] },
        Statement::Reduce { var: 1, from: 3, monoid: Monoid::Add },
        fetch(2),
        Statement::Dot { var: 2, a: Operand::Var(3), b: 2, depth: keys, accumulate: true },
    ];
    let walk = Loop {
        axis: axis("s"),
        tile: cut.keys,
        lo: b.term("0"),
        hi: b.term(&format!("(imin #s (i+ {last} 1))")),
        full: Some((b.term("0"), b.term("(imin #s (i+ @t 1))"))),
        walk: None,
        merge: vec![Merge { max: Some((0, scale)), monoid: Monoid::Add, values: vec![1, 2] }],
        body,
    };
    let ln2 = std::f64::consts::LN_2;
    let body = vec![
        fetch(0),
        b.set(0, "-inf"),
        b.set(1, "0.0"),
        b.set(2, "0.0"),
        Statement::Loop(Box::new(walk)),
        b.store("o", &["@t", "@g", "@r", "@e"], "(ratio %2 %1)", Some(width)),
        b.store("lse", &["@t", "@g", "@r"], &format!("(+ (* %0 {:?}) (log %1))", scale * ln2), None),
    ];
    let kernel = Kernel {
        name: "attention".into(),
        grid: vec![GridAxis { axis: axis("g"), tile: 1 }, GridAxis { axis: axis("t"), tile: cut.tokens }],
        rows: vec![span("t", cut.tokens), span("r", cut.heads)],
        layout: Layout::Fragments { rows: cut.warps, repeat: cut.repeat, columns: cut.column_warps },
        variables,
        tiles,
        stages: vec![],
        lists: vec![],
        body,
    };
    b.finish("attention", vec![kernel])
}
