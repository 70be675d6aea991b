//! A program from a list of choices: the same choices give the same program, fewer a smaller one, none the smallest.

use nsa_dsl::program::DType;

/// What expressions may use at some place.
#[derive(Clone)]
struct Scope {
    /// Axes with a value.
    axes: Vec<&'static str>,
    /// Levels of operators that may still be opened.
    depth: usize,
}

impl Scope {
    fn deeper(&self) -> Scope {
        Scope { depth: self.depth.saturating_sub(1), ..self.clone() }
    }

    fn with(&self, axis: &'static str) -> Scope {
        let mut inner = self.deeper();
        inner.axes.push(axis);
        inner
    }

    fn has(&self, axes: &[&str]) -> bool {
        axes.iter().all(|axis| self.axes.contains(axis))
    }
}

struct Generator<'a> {
    choices: std::slice::Iter<'a, u16>,
    /// Definitions so far: name, axes.
    tensors: Vec<(String, Vec<&'static str>)>,
    /// Lists that were chosen, `[t, g]`: of blocks of four keys, of single keys.
    lists: Vec<&'static str>,
    element: DType,
}

/// A program, and the type of its elements.
pub struct Generated {
    pub text: String,
    pub element: DType,
}

/// Parameters with their axes; `g` is 2, `n` 3, `d` and `e` are 3 and 4, or 16 each.
const PARAMETERS: [(&str, &[&str]); 6] = [
    ("q", &["t", "g", "d"]),
    ("k", &["s", "g", "d"]),
    ("v", &["s", "g", "e"]),
    ("w", &["d", "e"]),
    ("x", &["t"]),
    ("y", &["s"]),
];

/// A program.
pub fn program(choices: &[u16]) -> Generated {
    let mut generator = Generator { choices: choices.iter(), tensors: vec![], lists: vec![], element: DType::F32 };
    // Half types have matrix units: their programs also run on a GPU, with heads that its contractions can do.
    let element = match generator.choose(8) {
        5 | 6 => DType::Bf16,
        7 => DType::F16,
        _ => DType::F32,
    };
    generator.element = element;
    let (d, e) = if element == DType::F32 && generator.choose(4) > 0 { (3, 4) } else { (16, 16) };
    let mut body = String::new();
    for number in 0..generator.choose(5) {
        body += &format!("    {}\n", generator.definition(number));
    }
    let o = generator.float(&Scope { axes: vec!["t", "g", "e"], depth: 4 });
    let p = generator.float(&Scope { axes: vec!["t", "g"], depth: 3 });
    let parameters: Vec<String> =
        PARAMETERS.iter().map(|(name, axes)| format!("{name}[{}]", axes.join(", "))).collect();
    let text = format!(
        "const g = 2;\nconst d = {d};\nconst e = {e};\nconst n = 3;\n\
         kernel random({}, list: i32[t, n], id: i32[s], reach: i32[t]) -> (o[t, g, e], p[t, g]) {{\n{body}    ({o}, {p})\n}}\n",
        parameters.join(", ")
    );
    Generated { text, element }
}

impl Generator<'_> {
    /// A number below `n`; 0 when the choices are used up.
    fn choose(&mut self, n: usize) -> usize {
        self.choices.next().map_or(0, |&choice| usize::from(choice) % n)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.choose(from.len())]
    }

    /// A `let`: a tensor over some axes, or once a list.
    fn definition(&mut self, number: usize) -> String {
        // Scores of half types are rounded here and there: what they choose is no test of anything.
        let kind = if self.element == DType::F32 { self.choose(6) } else { 0 };
        if kind == 1 && !self.lists.contains(&"best") {
            // The best keys one by one.
            let score = self.float(&Scope { axes: vec!["t", "g", "s"], depth: 2 });
            let among =
                self.pick(&["", ", among = s <= pos(t)", ", force = s == pos(t), among = s < 3 || s <= pos(t)"]);
            self.lists.push("best");
            return format!("let fit[t, g, s] = 0.001 * s + {score};\n    let best = top[s](fit, 3{among});");
        }
        if kind == 2 && !self.lists.contains(&"chosen") {
            let score = self.float(&Scope { axes: vec!["t", "g", "s"], depth: 2 });
            let among =
                self.pick(&["", ", among = b <= pos(t) / 4", ", force = b == pos(t) / 4, among = b <= pos(t) / 4"]);
            let fold = self.pick(&["sum", "max"]);
            self.lists.push("chosen");
            // Keys of a block, and a little that differs between blocks, so that no two scores tie.
            return format!(
                "let mass[t, g, b < ceil_div(len(s), 4)] = 0.001 * b + {fold}[s] {score} where s / 4 == b;\n    \
                 let chosen = top[b](mass, 2{among});"
            );
        }
        const HEADS: [&[&str]; 5] = [&["t", "g"], &["s", "g"], &["s", "g", "e"], &["t", "d"], &["g", "e"]];
        let axes = HEADS[self.choose(HEADS.len())].to_vec();
        let value = self.float(&Scope { axes: axes.clone(), depth: 3 });
        let name = format!("a{number}");
        let text = format!("let {name}[{}] = {value};", axes.join(", "));
        self.tensors.push((name, axes));
        text
    }

    /// A floating expression.
    fn float(&mut self, scope: &Scope) -> String {
        if scope.depth == 0 {
            return self.leaf(scope);
        }
        let inner = scope.deeper();
        match self.choose(11) {
            0 => self.leaf(scope),
            9 => format!("sigmoid({}) * {}", self.leaf(scope), self.float(&inner)),
            10 => format!("({} - 0.5 * {})", self.softmax(scope), self.softmax(scope)),
            1 => {
                let (a, b) = (self.float(&inner), self.float(&inner));
                format!("({a} {} {b})", self.pick(&["+", "-", "*"]))
            }
            2 => {
                let (a, b) = (self.float(&inner), self.float(&inner));
                format!("{}({a}, {b})", self.pick(&["min", "max"]))
            }
            3 => {
                let name = self.pick(&["tanh", "sigmoid", "relu", "silu", "gelu", "abs"]);
                format!("{name}({})", self.float(&inner))
            }
            4 => {
                let (a, b) = (self.float(&inner), self.float(&inner));
                format!("(if {} {{ {a} }} else {{ {b} }})", self.condition(&inner))
            }
            5 => self.softmax(scope),
            _ => self.fold(scope),
        }
    }

    fn leaf(&mut self, scope: &Scope) -> String {
        let usable = PARAMETERS.iter().filter(|(_, axes)| scope.has(axes)).map(|(name, _)| name.to_string());
        let defined = self.tensors.iter().filter(|(_, axes)| scope.has(axes)).map(|(name, _)| name.clone());
        let mut names: Vec<String> = usable.chain(defined).collect();
        names.push("0.5".into());
        if scope.has(&["t", "s"]) {
            names.push("0.1 * (pos(t) - s)".into());
        }
        if scope.has(&["s"]) {
            names.push("y[len(s) - 1 - s]".into());
        }
        let at = self.choose(names.len());
        names.swap_remove(at)
    }

    /// An axis that has no value here.
    fn fresh(&mut self, scope: &Scope) -> Option<&'static str> {
        let axes: Vec<&'static str> = ["s", "d", "e", "t"].into_iter().filter(|axis| !scope.has(&[axis])).collect();
        if axes.is_empty() { None } else { Some(axes[self.choose(axes.len())]) }
    }

    fn guard(&mut self, scope: &Scope) -> String {
        match self.choose(2) {
            0 => String::new(),
            _ => format!(" where {}", self.condition(scope)),
        }
    }

    fn fold(&mut self, scope: &Scope) -> String {
        let Some(axis) = self.fresh(scope) else { return self.leaf(scope) };
        let inner = scope.with(axis);
        let kind = self.pick(&["sum", "sum", "mean", "max", "logsumexp", "min"]);
        let body = match self.choose(2) {
            0 => self.float(&inner),
            _ => format!("({} * {})", self.float(&inner), self.float(&inner)),
        };
        let guard = self.guard(&inner);
        match kind {
            // Rows that see nothing give -inf, which no further arithmetic should meet.
            "max" => format!("max(-3.0, max[{axis}] {body}{guard})"),
            "min" => format!("min(3.0, min[{axis}] {body}{guard})"),
            "logsumexp" => format!("max(-3.0, logsumexp[{axis}]({body}{guard}))"),
            kind => format!("({kind}[{axis}] {body}{guard})"),
        }
    }

    /// Attention: values averaged by a softmax.
    fn softmax(&mut self, scope: &Scope) -> String {
        let Some(axis) = self.fresh(scope) else { return self.leaf(scope) };
        let mut inner = scope.with(axis);
        inner.axes.retain(|axis| *axis != "e");
        let score = self.float(&inner);
        let guard = self.guard(&inner);
        let value = self.float(&scope.with(axis));
        format!("(sum[{axis}] softmax[{axis}]({score}{guard}) * {value})")
    }

    fn condition(&mut self, scope: &Scope) -> String {
        let mut tests = vec!["len(s) > 5"];
        if scope.has(&["t"]) {
            tests.extend(["t % 2 == 0", "pos(t) >= 4", "x > 0.1", "reach >= 2"]);
        }
        if scope.has(&["s"]) {
            tests.extend(["s < 6", "s / 4 == 1", "id != 7", "s % 3 != 1", "y < 0.3"]);
        }
        if scope.has(&["t", "s"]) {
            tests.extend([
                "s <= pos(t)",
                "(s <= pos(t) && pos(t) < s + 6)",
                "s / 4 in list",
                "(s in list && s <= pos(t))",
                "s / 4 + 1 >= pos(t) / 4",
                "id[s] == id[pos(t)]",
                "pos(t) - s in list",
                "s < reach",
                "s + reach > pos(t)",
                "(s < 3 || s + 4 > pos(t))",
                "(s < reach || s <= pos(t))",
                "(pos(t) - s) % 3 == 0",
            ]);
        }
        if scope.has(&["t", "g", "s"]) {
            for list in &self.lists {
                tests.extend(match *list {
                    "best" => ["s in best", "(s in best || s + 3 > pos(t))"],
                    _ => ["s / 4 in chosen", "(s / 4 in chosen && s <= pos(t))"],
                });
            }
        }
        if scope.has(&["d"]) {
            tests.push("d != 1");
        }
        let one = self.pick(&tests).to_string();
        match self.choose(8) {
            1 => format!("({one} && {})", self.pick(&tests)),
            2 => format!("({one} || {})", self.pick(&tests)),
            3 => format!("!({one})"),
            4 => format!("({one} || {} || {})", self.pick(&tests), self.pick(&tests)),
            5 => format!("({} && ({one} || {}))", self.pick(&tests), self.pick(&tests)),
            6 => format!("!({one} || {})", self.pick(&tests)),
            _ => one,
        }
    }
}
