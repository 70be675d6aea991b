//! Plans from terms written by hand, by way of the planner.

use nsa_codegen::plan::{Plan, Tiling, plan, verify};
use nsa_codegen::term::{AxisName, Definition, TensorName, Term, Terms};
use nsa_dsl::program::*;

/// A name and its index axes.
pub type Indexed<'a> = (&'a str, &'a [&'a str]);

/// What a plan is made from.
pub struct Text<'a> {
    /// Axes; a positive number is a constant extent, 0 means at run time.
    pub axes: &'a [(&'a str, i64)],
    /// Parameters of the element type.
    pub params: &'a [Indexed<'a>],
    /// Integer parameters.
    pub lists: &'a [Indexed<'a>],
    /// Definitions: name, axes, term. All are results.
    pub definitions: &'a [(&'a str, &'a [&'a str], String)],
    /// Type of parameters and results.
    pub element: DType,
}

impl Text<'_> {
    /// The plan, cut for a CPU.
    pub fn plan(&self) -> Plan {
        self.plan_with(&Tiling::host())
    }

    /// The plan, cut in some way.
    pub fn plan_with(&self, tiling: &Tiling) -> Plan {
        let id = |name: &&str| AxisId(self.axes.iter().position(|a| a.0 == *name).expect("an axis") as u32);
        let mut program = Program {
            name: "test".into(),
            element: self.element,
            axes: vec![],
            tensors: vec![],
            results: vec![],
            exprs: vec![Expr::Num(0.0)],
            constants: vec![],
            places: Default::default(),
        };
        for (name, n) in self.axes {
            let extent = if *n > 0 { Extent::Const(*n) } else { Extent::Runtime };
            program.axes.push(Axis { name: name.to_string(), extent });
        }
        for (dtype, params) in [(None, self.params), (Some(DType::I32), self.lists)] {
            for (name, axes) in params {
                let axes = axes.iter().map(id).collect();
                program.tensors.push(Tensor { name: name.to_string(), axes, dtype, source: Source::Param });
            }
        }
        let mut terms = Terms { nodes: Default::default(), definitions: vec![] };
        for (name, axes, text) in self.definitions {
            let parsed: egg::RecExpr<Term> = text.parse().expect("a term");
            let offset = terms.nodes.as_ref().len();
            for node in parsed.as_ref() {
                let shifted = egg::Language::map_children(node.clone(), |c| egg::Id::from(usize::from(c) + offset));
                terms.nodes.add(shifted);
            }
            let root = egg::Id::from(terms.nodes.as_ref().len() - 1);
            let list = matches!(terms.nodes[root], Term::Top(_));
            let source = match list {
                true => Source::Top(Top { axis: AxisId(0), count: 0, score: ExprId(0), force: None, among: None }),
                false => Source::Value(ExprId(0)),
            };
            program.results.push(TensorId(program.tensors.len() as u32));
            let tensor_axes = axes.iter().map(id).collect();
            program.tensors.push(Tensor { name: name.to_string(), axes: tensor_axes, dtype: None, source });
            let axes = if list { &axes[..axes.len() - 1] } else { axes };
            terms.definitions.push(Definition {
                tensor: TensorName::new(name),
                axes: axes.iter().map(|a| AxisName::new(a)).collect(),
                root,
                result: true,
            });
        }
        let plan = plan(&terms, &program, tiling).expect("a plan").plan;
        assert_eq!(verify(&plan), []);
        plan
    }
}

/// Attention as a tiled fold of lse: the term whose `norm` is the output and whose `logsum` the log-sum-exp.
pub fn attend(k: &str, v: &str, axis: &str, domain: &str, scale: f64) -> String {
    let s = format!("(* (mma (all @d) (load $q @t @g @r @d) (load {k} @{axis} @g @d)) {scale:?})");
    let m = format!("(fold max (inner {domain}) {s})");
    let p = format!("(exp (shift {s} {m}))");
    let pv = format!("(mma (inner {domain}) {p} (load {v} @{axis} @g @e))");
    format!("(fold lse (outer {domain}) (pair {m} (pair {pv} (fold add (inner {domain}) {p}))))")
}
