//! Programs for the tests, written as terms.

use super::build::{Builder, tidy_terms};
use super::context::{Context, TensorFacts, TensorRole};
use super::eval::{Array, Environment};
use super::{AxisName, Definition, TensorName, Term, Terms, Type};
use crate::machine::Machine;
use egg::RecExpr;

/// A program in terms with its context.
pub struct Written {
    pub terms: Terms,
    pub context: Context,
}

/// Reads a program: lines `axis NAME SIZE` (run time) or `axis NAME = SIZE`, `param NAME TYPE AXIS..`,
/// `let NAME [AXIS..] TERM` and `result NAME [AXIS..] TERM`; a term goes on over following lines that are indented.
pub fn read(text: &str) -> Written {
    let mut context = Context::new(Type::Bf16);
    let mut builder = Builder::new();
    let mut definitions = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match lines.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_string()),
        }
    }
    for line in &lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "axis" if words[2] == "=" => context.axis(words[1], Some(words[3].parse().unwrap()), 0),
            "axis" => context.axis(words[1], None, words[2].parse().unwrap()),
            "param" => {
                let axes = words[3..].iter().map(|axis| AxisName::new(axis)).collect();
                let dtype = Some(words[2].parse().unwrap());
                context.add_tensor(words[1], TensorFacts { role: TensorRole::Param, axes, dtype, result: false });
            }
            "let" | "result" => {
                let open = line.find('[').unwrap();
                let close = line.find(']').unwrap();
                let axes: Vec<AxisName> = line[open + 1..close].split_whitespace().map(AxisName::new).collect();
                let nodes: RecExpr<Term> = line[close + 1..].trim().parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                let root = builder.graft(&nodes, egg::Id::from(nodes.len() - 1));
                let role = match nodes.as_ref().last().unwrap() {
                    Term::Top([count, ..]) => match nodes[*count] {
                        Term::Int(count) => TensorRole::List(count),
                        _ => panic!("count"),
                    },
                    _ => TensorRole::Value,
                };
                let result = words[0] == "result";
                let dtype = result.then_some(Type::Bf16).filter(|_| role == TensorRole::Value);
                context.add_tensor(words[1], TensorFacts { role, axes: axes.clone(), dtype, result });
                definitions.push(Definition { tensor: TensorName::new(words[1]), axes, root, result });
            }
            other => panic!("{other}"),
        }
    }
    let terms = tidy_terms(&Terms { nodes: builder.finish(), definitions });
    Written { terms, context }
}

impl Written {
    /// With the matrix units of a machine.
    pub fn on(mut self, machine: &Machine) -> Self {
        self.context.matrix = Some(machine.matrix.clone());
        self
    }

    /// Lengths of the axes at which constant extents are as they are, and random arguments.
    pub fn environment(&self, lengths: &[(&str, i64)], seed: u64) -> Environment {
        let mut environment = Environment::new();
        for axis in &self.context.axes {
            let given = lengths.iter().find(|(name, _)| *name == axis.name.name()).map(|(_, length)| *length);
            environment.lengths.insert(axis.name, given.or(axis.constant).expect("a length for every run-time axis"));
        }
        let mut random = Random(seed);
        for (name, facts) in self.context.tensors() {
            if facts.role == TensorRole::Param {
                let shape: Vec<usize> = facts.axes.iter().map(|axis| environment.lengths[axis] as usize).collect();
                let data = (0..shape.iter().product()).map(|_| random.next()).collect();
                environment.tensors.insert(name, Array { shape, data });
            }
        }
        environment
    }
}

/// A small generator (xorshift64*), so that tests are the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// The next number, between -1 and 1.
    pub fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545F4914F6CDD1D) >> 11;
        bits as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Softmax attention as programs say it: value and log-sum-exp of a score over a domain.
pub fn attend(domain: &str, score: &str, value: &str) -> (String, String) {
    let max = format!("(fold max {domain} {score})");
    let exp = format!("(exp (shift {score} {max}))");
    let sum = format!("(fold add {domain} {exp})");
    (format!("(fold add {domain} (* (ratio {exp} {sum}) {value}))"), format!("(+ {max} (log {sum}))"))
}

/// Sizes of an NSA program: head widths, groups, heads, then L, STRIDE, BLOCK, N, WINDOW, and expected tokens.
pub struct Sizes {
    pub d: i64,
    pub e: i64,
    pub g: i64,
    pub r: i64,
    pub l: i64,
    pub stride: i64,
    pub block: i64,
    pub n: i64,
    pub window: i64,
    pub t: i64,
}

/// The sizes of the paper.
pub const PAPER: Sizes =
    Sizes { d: 128, e: 128, g: 4, r: 16, l: 32, stride: 16, block: 64, n: 16, window: 512, t: 65536 };
/// Sizes that an interpreter of terms can do.
pub const SMALL: Sizes = Sizes { d: 2, e: 2, g: 2, r: 2, l: 4, stride: 2, block: 4, n: 3, window: 5, t: 24 };

/// Native sparse attention.
pub fn nsa(z: &Sizes) -> Written {
    let Sizes { d, e, g, r, l, stride, block, n, window, t } = *z;
    let scale = format!("{:?}", 1.0 / (d as f64).sqrt());
    let pos = "(i+ @t (i- #s #t))";
    let score =
        |k: &str, s: &str| format!("(* (fold add (all @d) (* (load $q @t @g @r @d) (load ${k} @{s} @g @d))) {scale})");
    let seen = format!("(mask (all @i) (i<= (i+ (i* @i {stride}) {}) {pos}))", l - 1);
    let (oc, lse) = attend(&seen, &score("kc", "i"), "(load $vc @i @g @e)");
    let picked = format!("(mask (all @s) (and (in (i/ @s {block}) (list $chosen @t @g)) (i<= @s {pos})))");
    let near = format!("(mask (all @s) (and (i<= @s {pos}) (i< {pos} (i+ @s {window}))))");
    let os = attend(&picked, &score("k", "s"), "(load $v @s @g @e)").0;
    let ow = attend(&near, &score("k", "s"), "(load $v @s @g @e)").0;
    let overlap = format!(
        "(float (imax 0 (i- (imin (i+ (i* @i {stride}) {l}) (i+ (i* @b {block}) {block})) (imax (i* @i {stride}) (i* @b {block})))))"
    );
    let p = score("kc", "i");
    read(&format!(
        "axis t {t}\naxis s {t}\naxis g = {g}\naxis r = {r}\naxis d = {d}\naxis e = {e}\naxis i {}\naxis b {}\naxis j = {l}\naxis c = 3\n\
         param q bf16 t g r d\nparam k bf16 s g d\nparam v bf16 s g e\nparam gate bf16 t g r c\n\
         let kc [i g d] (/ (fold add (all @j) (load $k (i+ (i* @i {stride}) @j) @g @d)) {l}.0)\n\
         let vc [i g e] (/ (fold add (all @j) (load $v (i+ (i* @i {stride}) @j) @g @e)) {l}.0)\n\
         let oc [t g r e] {oc}\n\
         let lse [t g r] {lse}\n\
         let p [t g r i] (exp (- {p} (load $lse @t @g @r)))\n\
         let mass [t g b] (fold add (all @r) (fold add {seen} (/ (* (load $p @t @g @r @i) {overlap}) {stride}.0)))\n\
         let chosen [t g] (top {n} (mask (all @b) (i<= @b (i/ {pos} {block}))) (load $mass @t @g @b)\n \
            (or (i< @b 1) (i< (i/ {pos} {block}) (i+ @b 2))))\n\
         let os [t g r e] {os}\n\
         let ow [t g r e] {ow}\n\
         result o [t g r e] (+ (+ (* (load $gate @t @g @r 0) (load $oc @t @g @r @e)) (* (load $gate @t @g @r 1) (load $os @t @g @r @e)))\n \
            (* (load $gate @t @g @r 2) (load $ow @t @g @r @e)))\n",
        (t - l) / stride + 1,
        (t + block - 1) / block,
    ))
}
