//! Terms of a plan as the language says them: `sum[j] k[i * 16 + j, g, d]`, `pos(t) - 31`, `ceil_div(len(s), 64)`.
//!
//! What the language has no word for: `last(t)` is the last value of `t` that a thread block has, and `merge[chunk](x by m)`
//! puts together what the chunks of a split fold came to: each counts by the exponential of its `m` less the largest.

use nsa_codegen::plan::{Kernel, Plan, PlanExtent, Var};
use nsa_codegen::term::{AxisName, Monoid, Term};
use std::cell::RefCell;
use std::collections::BTreeMap;

use egg::{Id, Language};

/// Integers that are printed again and again get a name where they are at least this long.
const WORTH_A_NAME: usize = 20;

// How strongly expressions bind, weakest first.
const ANY: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const ATOM: u8 = 7;

/// The terms of a kernel, or of the head of a plan.
pub struct Phrases<'a> {
    plan: &'a Plan,
    kernel: Option<&'a Kernel>,
    /// Integers, and what stands for them.
    names: Vec<(Id, String)>,
    /// How often an integer that could have a name was printed: by its text.
    printed: RefCell<BTreeMap<String, (usize, Id)>>,
}

impl<'a> Phrases<'a> {
    /// Those of a plan's head, or of a kernel.
    pub fn new(plan: &'a Plan, kernel: Option<&'a Kernel>) -> Phrases<'a> {
        Phrases { plan, kernel, names: vec![], printed: RefCell::default() }
    }

    /// Finds names for integers that `print` prints more than once and at length, and says which: each needs only those
    /// before it.
    pub fn name_repeated<T>(&mut self, print: impl Fn(&Self) -> T) -> Vec<(String, String)> {
        loop {
            self.printed.take();
            print(self);
            let worth = |(text, (times, _)): &(String, (usize, Id))| text.len() >= WORTH_A_NAME && *times > 1;
            // What a name saves. Of those that save as much the shorter: it is in the longer.
            let saved =
                |(text, (times, _)): &(String, (usize, Id))| (text.len() * (times - 1), std::cmp::Reverse(text.len()));
            let Some((_, (_, id))) = self.printed.take().into_iter().filter(worth).max_by_key(saved) else { break };
            self.names.push((id, self.fresh(self.names.len() + 1)));
        }
        self.names
            .sort_by_key(|(id, _)| self.plan.terms[*id].build_recexpr(|child| self.plan.terms[child].clone()).len());
        // Numbered as they are said.
        for (_, name) in &mut self.names {
            name.clear();
        }
        for number in 0..self.names.len() {
            self.names[number].1 = self.fresh(number + 1);
        }
        self.names.iter().map(|(id, name)| (name.clone(), self.text(*id).0)).collect()
    }

    /// Whether a block has one value of an integer, or one per row: loops and folds give it no others.
    fn is_of_block(&self, id: Id) -> bool {
        let of_kernel = |axis: &AxisName| {
            let kernel = self.kernel.into_iter();
            kernel
                .flat_map(|kernel| {
                    kernel.grid.iter().map(|axis| axis.axis).chain(kernel.rows.iter().map(|row| row.axis))
                })
                .any(|own| own == *axis)
        };
        match self.node(id) {
            Term::Axis(axis) => of_kernel(axis),
            node => node.children().iter().all(|child| self.is_of_block(*child)),
        }
    }

    /// A name that nothing has, of a number or a later one.
    fn fresh(&self, mut number: usize) -> String {
        let axes = self.plan.axes.iter().map(|axis| axis.name.name());
        let buffers = self.plan.buffers.iter().map(|buffer| buffer.name.name());
        let taken: Vec<&str> = axes.chain(buffers).chain(self.names.iter().map(|(_, name)| name.as_str())).collect();
        while taken.contains(&format!("bound{number}").as_str()) {
            number += 1;
        }
        format!("bound{number}")
    }

    /// A term.
    pub fn show(&self, id: Id) -> String {
        self.at(id, ANY)
    }

    /// A variable's label, with its number where another one has the same.
    pub fn variable(&self, number: Var) -> String {
        let Some(kernel) = self.kernel else { return format!("%{number}") };
        let label = &kernel.variables[number as usize].label;
        let same = kernel.variables.iter().filter(|other| other.label == *label).count();
        if same > 1 { format!("{label}{number}") } else { label.clone() }
    }

    /// A part of shared memory that statements write and read.
    pub fn stage(&self, number: u32) -> String {
        let many = self.kernel.is_some_and(|kernel| kernel.stages.len() > 1);
        if many { format!("kept{number}") } else { "kept".into() }
    }

    /// An element of a tensor; the tensor alone if the indices are its own axes.
    pub fn element(&self, tensor: &str, indices: &[Id], rest: bool) -> String {
        if let Some(number) = tensor.strip_prefix("stage:").and_then(|number| number.parse().ok()) {
            return format!("{}[{}]", self.stage(number), self.list(indices, ANY));
        }
        let buffer = self.plan.buffers.iter().find(|buffer| buffer.name.name() == tensor);
        let texts: Vec<String> = indices.iter().map(|id| self.at(*id, ANY)).collect();
        let own = |(axis, text): (&AxisName, &String)| axis.name() == text;
        let count = indices.len() + usize::from(rest);
        match buffer {
            Some(buffer) if buffer.axes.len() == count && buffer.axes.iter().zip(&texts).all(own) => tensor.into(),
            _ if rest => format!("{tensor}[{}, ..]", texts.join(", ")),
            _ => format!("{tensor}[{}]", texts.join(", ")),
        }
    }

    fn list(&self, ids: &[Id], level: u8) -> String {
        ids.iter().map(|id| self.at(*id, level)).collect::<Vec<_>>().join(", ")
    }

    fn node(&self, id: Id) -> &'a Term {
        &self.plan.terms[id]
    }

    /// A term where something that binds at least as strongly as `outer` is needed.
    fn at(&self, id: Id, outer: u8) -> String {
        if let Some((_, name)) = self.names.iter().find(|(named, _)| self.same(*named, id)) {
            return name.clone();
        }
        let (text, level) = self.text(id);
        if self.node(id).is_integer_arithmetic() && self.is_of_block(id) {
            self.printed.borrow_mut().entry(text.clone()).or_insert((0, id)).0 += 1;
        }
        if level < outer { format!("({text})") } else { text }
    }

    /// A term without brackets around it, and how strongly it binds.
    fn text(&self, id: Id) -> (String, u8) {
        let binary = |op: &str, level: u8, left: u8, [a, b]: &[Id; 2]| {
            (format!("{} {op} {}", self.at(*a, left), self.at(*b, level + 1)), level)
        };
        let call = |name: &str, arguments: &[Id]| (format!("{name}({})", self.list(arguments, ANY)), ATOM);
        let extreme = |name: &str| {
            let mut operands = vec![];
            self.operands(id, &mut operands);
            // At least 0 is what cannot be less.
            let is_zero = |id: &Id| matches!(self.node(*id), Term::Int(0));
            if name == "max" && operands.iter().any(|id| !is_zero(id) && self.nonnegative(*id, false)) {
                operands.retain(|id| !is_zero(id));
            }
            let mut texts: Vec<String> = operands.iter().map(|id| self.at(*id, ANY)).collect();
            texts.dedup();
            if texts.len() == 1 {
                return self.text(operands[0]);
            }
            self.along_rows(name, &texts).unwrap_or_else(|| (format!("{name}({})", texts.join(", ")), ATOM))
        };
        match self.node(id) {
            Term::Axis(axis) => (axis.name().into(), ATOM),
            Term::Len(axis) => (format!("len({})", axis.name()), ATOM),
            Term::Tensor(tensor) => (tensor.name().into(), ATOM),
            Term::Value(value) => (self.variable(value.0), ATOM),
            Term::Int(value) if *value < 0 => (value.to_string(), SUM),
            Term::Int(value) => (value.to_string(), ATOM),
            Term::Num(value) if value.get() < 0.0 => (number(value.get()), SUM),
            Term::Num(value) => (number(value.get()), ATOM),
            Term::IntAdd(_) | Term::IntSub(_) => self.sum(id),
            Term::IntMin(operands) => match self.last(operands) {
                Some(last) => (last, ATOM),
                None => extreme("min"),
            },
            Term::Min(_) => extreme("min"),
            Term::IntMax(_) | Term::Max(_) => extreme("max"),
            Term::Add(x) => binary("+", SUM, SUM, x),
            Term::Sub(x) | Term::Shift(x) => binary("-", SUM, SUM, x),
            Term::IntMul(x) | Term::Mul(x) => binary("*", PRODUCT, PRODUCT, x),
            Term::IntDiv(x) => match self.rounded_up(x) {
                Some(text) => (text, ATOM),
                None => binary("/", PRODUCT, PRODUCT, x),
            },
            Term::Div(x) | Term::Ratio(x) => match self.mean(x) {
                Some(text) => text,
                None => binary("/", PRODUCT, PRODUCT, x),
            },
            Term::IntRem(x) => binary("%", PRODUCT, PRODUCT, x),
            Term::IntEq(x) | Term::Eq(x) => binary("==", COMPARISON, SUM, x),
            Term::IntNe(x) | Term::Ne(x) => binary("!=", COMPARISON, SUM, x),
            Term::IntLt(x) | Term::Lt(x) => binary("<", COMPARISON, SUM, x),
            Term::IntLe(x) | Term::Le(x) => binary("<=", COMPARISON, SUM, x),
            Term::In(x) => binary("in", COMPARISON, SUM, x),
            Term::And(x) => binary("&&", AND, AND, x),
            Term::Or(x) => binary("||", OR, OR, x),
            Term::Not(x) => (format!("!{}", self.at(*x, ATOM)), PRODUCT),
            Term::Neg(x) => (format!("-{}", self.at(*x, ATOM)), PRODUCT),
            // Integers among reals are reals.
            Term::ToFloat(x) => (self.at(*x, ATOM), ATOM),
            Term::Cast([dtype, x]) => (format!("cast({}, {})", self.at(*x, ANY), self.at(*dtype, ANY)), ATOM),
            Term::Select(x) => (self.select(x), ATOM),
            Term::Load(x) => (self.element(&self.at(x[0], ANY), &x[1..], false), ATOM),
            Term::List(x) => (self.element(&self.at(x[0], ANY), &x[1..], true), ATOM),
            Term::Fold([monoid, domain, body]) => self.fold(fold_name(self.node(*monoid)), *domain, *body),
            Term::Norm(x) | Term::Logsum(x) | Term::Fst(x) | Term::Snd(x) => self.merge(id).unwrap_or_else(|| {
                let what = match self.node(id) {
                    Term::Norm(_) => "quotient of ",
                    Term::Logsum(_) => "log-sum-exp of ",
                    Term::Fst(_) => "first of ",
                    _ => "second of ",
                };
                call(what, &[*x])
            }),
            Term::Mma([domain, a, b]) => {
                let body = format!("{} * {}", self.at(*a, PRODUCT), self.at(*b, ATOM));
                self.over("sum", *domain, body)
            }
            node if node.is_leaf() => (node.to_string(), ATOM),
            node => call(&node.to_string(), node.children()),
        }
    }

    /// `min` of `min`, `max` of `max`: their operands, from left to right.
    fn operands(&self, id: Id, operands: &mut Vec<Id>) {
        let outer = std::mem::discriminant(self.node(id));
        for child in self.node(id).children() {
            if std::mem::discriminant(self.node(*child)) == outer && self.last_of(*child).is_none() {
                self.operands(*child, operands);
            } else {
                operands.push(*child);
            }
        }
    }

    /// `max(x[min(t, last(t))], x[min(t + 1, last(t))], ..)`, one for each row of the block, is the most along its rows.
    fn along_rows(&self, name: &str, texts: &[String]) -> Option<(String, u8)> {
        let row = |axis: &str, at: usize| match at {
            0 => format!("min({axis}, last({axis}))"),
            at => format!("min({axis} + {at}, last({axis}))"),
        };
        let mut rows =
            self.kernel?.rows.iter().filter(|row| row.count as usize == texts.len()).map(|row| row.axis.name());
        rows.find_map(|axis| {
            let own = |at: usize| texts[0].replace(&row(axis, 0), &row(axis, at));
            let all = texts[0].contains(&row(axis, 0)) && texts.iter().enumerate().all(|(at, text)| *text == own(at));
            all.then(|| (format!("{name}[{axis}..last({axis})] {}", texts[0].replace(&row(axis, 0), axis)), SUM))
        })
    }

    fn last_of(&self, id: Id) -> Option<String> {
        if let Term::IntMin(operands) = self.node(id) { self.last(operands) } else { None }
    }

    /// `min(t + 7, len(t) - 1)` is the last value of `t` that a block of 8 has; of a single one, `t` itself.
    fn last(&self, [a, b]: &[Id; 2]) -> Option<String> {
        let one_less = |id: Id| match self.node(id) {
            Term::IntAdd([len, one]) => match (self.node(*len), self.node(*one)) {
                (Term::Len(axis), Term::Int(-1)) => Some(axis.name()),
                _ => None,
            },
            _ => None,
        };
        let ahead = |id: Id| match self.node(id) {
            Term::Axis(axis) => Some((axis.name(), 0)),
            Term::IntAdd([axis, more]) => match (self.node(*axis), self.node(*more)) {
                (Term::Axis(axis), Term::Int(more)) => Some((axis.name(), *more)),
                _ => None,
            },
            _ => None,
        };
        let of = |a: Id, b: Id| one_less(b).zip(ahead(a)).filter(|(end, (axis, _))| end == axis);
        let (_, (axis, more)) = of(*a, *b).or_else(|| of(*b, *a))?;
        let kernel = self.kernel?;
        let rows = kernel.rows.iter().find(|span| span.axis.name() == axis).map_or(1, |span| i64::from(span.count));
        match more {
            0 => Some(axis.into()),
            more if more + 1 == rows => Some(format!("last({axis})")),
            _ => None,
        }
    }

    /// An integer sum: its parts in order, `- 31` for what is taken away, and positions.
    fn sum(&self, id: Id) -> (String, u8) {
        let mut parts = vec![];
        self.parts(id, true, &mut parts);
        let mut positions = BTreeMap::new();
        while let Some((query, key, minus, text)) = self.position(&parts, &positions) {
            positions.insert(query, text);
            parts[key].1 = None;
            parts[minus].1 = None;
        }
        let mut text = String::new();
        for (place, (plus, part)) in parts.iter().enumerate() {
            let Some(part) = part else { continue };
            let own = match (positions.get(&place), self.node(*part)) {
                (Some(position), _) => position.clone(),
                (None, Term::Int(value)) => value.unsigned_abs().to_string(),
                (None, _) => self.at(*part, if *plus { SUM } else { PRODUCT }),
            };
            let plus = *plus != matches!(self.node(*part), Term::Int(value) if *value < 0);
            text += match (text.is_empty(), plus) {
                (true, true) => "",
                (true, false) => "-",
                (false, true) => " + ",
                (false, false) => " - ",
            };
            text += &own;
        }
        let single = parts.iter().filter(|(_, part)| part.is_some()).count() == 1 && !positions.is_empty();
        (text, if single { ATOM } else { SUM })
    }

    fn parts(&self, id: Id, plus: bool, parts: &mut Vec<(bool, Option<Id>)>) {
        match self.node(id) {
            Term::IntAdd([a, b]) => {
                self.parts(*a, plus, parts);
                self.parts(*b, plus, parts);
            }
            Term::IntSub([a, b]) => {
                self.parts(*a, plus, parts);
                self.parts(*b, !plus, parts);
            }
            _ => parts.push((plus, Some(id))),
        }
    }

    /// `t + len(s) - len(t)` among the parts of a sum: where the three stand, and `pos(t)`.
    fn position(
        &self,
        parts: &[(bool, Option<Id>)],
        known: &BTreeMap<usize, String>,
    ) -> Option<(usize, usize, usize, String)> {
        let length = |place: usize, sign: bool| match parts[place] {
            (plus, Some(id)) if plus == sign => match self.node(id) {
                Term::Len(axis) => Some(axis.name()),
                _ => None,
            },
            _ => None,
        };
        for (query, (plus, part)) in parts.iter().enumerate() {
            let Some(id) = part.filter(|_| *plus && !known.contains_key(&query)) else { continue };
            let (axis, said) = match self.node(id) {
                Term::Axis(axis) => (axis.name().to_string(), axis.name().to_string()),
                Term::IntMin(_) => {
                    let Some(said) = self.last_of(id) else { continue };
                    (said.trim_start_matches("last(").trim_end_matches(')').to_string(), said)
                }
                _ => continue,
            };
            let minus = (0..parts.len()).find(|place| length(*place, false).is_some_and(|name| name == axis));
            let key = (0..parts.len()).find(|place| length(*place, true).is_some_and(|name| name != axis));
            let Some((minus, key)) = minus.zip(key) else { continue };
            let others = self.plan.axes.iter().filter(|other| other.extent == PlanExtent::Runtime);
            let keys = others.filter(|other| other.name.name() != axis).count();
            let among = length(key, true).filter(|_| keys > 1).map_or(String::new(), |key| format!(", {key}"));
            return Some((query, key, minus, format!("pos({said}{among})")));
        }
        None
    }

    /// `(x + 63) / 64` is `x / 64`, rounded up.
    fn rounded_up(&self, [sum, by]: &[Id; 2]) -> Option<String> {
        let (Term::IntAdd([x, more]), Term::Int(by)) = (self.node(*sum), self.node(*by)) else { return None };
        let Term::Int(more) = self.node(*more) else { return None };
        (*by > 1 && *more == by - 1).then(|| format!("ceil_div({}, {by})", self.at(*x, ANY)))
    }

    /// Whether an integer is certainly not negative, as an axis is; `more` asks for more than 0.
    fn nonnegative(&self, id: Id, more: bool) -> bool {
        match self.node(id) {
            Term::Int(value) => *value >= i64::from(more),
            Term::Axis(_) | Term::Len(_) => !more,
            Term::IntAdd(x) | Term::IntMin(x) => x.iter().all(|id| self.nonnegative(*id, more)),
            Term::IntMul(x) => x.iter().all(|id| self.nonnegative(*id, more)),
            Term::IntDiv([x, by]) => !more && self.nonnegative(*x, false) && self.nonnegative(*by, true),
            Term::IntMax(x) => x.iter().any(|id| self.nonnegative(*id, more)),
            _ => false,
        }
    }

    /// `if` as the language has it; a quotient that is 0 where its divisor is, in fewer words.
    fn select(&self, [condition, yes, no]: &[Id; 3]) -> String {
        let is_zero = |id: Id| matches!(self.node(id), Term::Num(value) if value.get() == 0.0);
        if let (Term::Eq([x, zero]), Term::Div([_, by])) = (self.node(*condition), self.node(*no))
            && is_zero(*zero)
            && is_zero(*yes)
            && x == by
        {
            let by = self.at(*by, ANY);
            return format!("({}, or 0 where {by} is 0)", self.at(*no, ANY));
        }
        format!("if {} {{ {} }} else {{ {} }}", self.at(*condition, ANY), self.at(*yes, ANY), self.at(*no, ANY))
    }

    /// A sum over as many values as it is divided by, or by a sum of ones over the same values.
    fn mean(&self, [sum, count]: &[Id; 2]) -> Option<(String, u8)> {
        let Term::Fold([monoid, domain, body]) = self.node(*sum) else { return None };
        let add = |monoid: Id| matches!(self.node(monoid), Term::Monoid(Monoid::Add));
        let one = |id: Id| matches!(self.node(id), Term::Num(value) if value.get() == 1.0);
        let counts = match self.node(*count) {
            Term::Fold([other, over, ones]) => {
                let plain = Phrases::new(self.plan, self.kernel);
                add(*other) && one(*ones) && plain.domain(*over) == plain.domain(*domain)
            }
            Term::Num(count) => match self.node(*domain) {
                Term::All(axis) => self.constant(*axis).is_some_and(|length| length as f64 == count.get()),
                _ => false,
            },
            _ => false,
        };
        (add(*monoid) && counts).then(|| self.fold("mean", *domain, *body))
    }

    fn constant(&self, axis: Id) -> Option<i64> {
        if let Term::Axis(axis) = self.node(axis) { self.plan.constant(*axis) } else { None }
    }

    /// Whether two terms are said alike, names left aside.
    pub fn same(&self, a: Id, b: Id) -> bool {
        let plain = Phrases::new(self.plan, self.kernel);
        a == b
            || self.node(a).is_integer_arithmetic() == self.node(b).is_integer_arithmetic()
                && plain.show(a) == plain.show(b)
    }

    fn fold(&self, name: &str, domain: Id, body: Id) -> (String, u8) {
        self.over(name, domain, self.at(body, PRODUCT))
    }

    /// A fold takes in a product, and its `where` everything that follows.
    fn over(&self, name: &str, domain: Id, body: String) -> (String, u8) {
        let (axis, conditions) = self.domain(domain);
        match restriction(&conditions) {
            None => (format!("{name}[{axis}] {body}"), SUM),
            Some(condition) => (format!("{name}[{axis}] {body} where {condition}"), ANY),
        }
    }

    /// The axis of a domain, and what restricts it, each with how strongly it binds.
    fn domain(&self, id: Id) -> (String, Vec<(String, u8)>) {
        let restricted = |domain: Id, condition: &dyn Fn(&str) -> (String, u8)| {
            let (axis, mut conditions) = self.domain(domain);
            conditions.push(condition(&axis));
            (axis, conditions)
        };
        match self.node(id) {
            Term::All(axis) => (self.at(*axis, ANY), vec![]),
            Term::Mask([domain, condition]) => restricted(*domain, &|_| self.text(*condition)),
            Term::Upto([domain, end]) => {
                restricted(*domain, &|axis| (format!("{axis} <= {}", self.at(*end, SUM)), COMPARISON))
            }
            Term::From([domain, start]) => {
                restricted(*domain, &|axis| (format!("{} <= {axis}", self.at(*start, SUM)), COMPARISON))
            }
            Term::Blocks([domain, list, block]) => restricted(*domain, &|axis| {
                let block = match self.node(*block) {
                    Term::Int(1) => axis.to_string(),
                    _ => format!("{axis} / {}", self.at(*block, ATOM)),
                };
                (format!("{block} in {}", self.at(*list, ATOM)), COMPARISON)
            }),
            Term::Union([one, other]) => {
                let all = |id: Id| {
                    let (axis, conditions) = self.domain(id);
                    let texts = conditions.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(" && ");
                    (axis, if texts.is_empty() { "true".into() } else { texts })
                };
                let ((axis, one), (_, other)) = (all(*one), all(*other));
                (axis, vec![(format!("{one} || {other}"), OR)])
            }
            // Tiles and chunks have the values of their domain.
            Term::Outer(domain) | Term::Inner(domain) | Term::Chunks(domain) | Term::Chunk(domain) => {
                self.domain(*domain)
            }
            _ => (self.at(id, ANY), vec![]),
        }
    }

    /// What several chunks of an online softmax come to together: a quotient, a sum or a log-sum-exp.
    fn merge(&self, id: Id) -> Option<(String, u8)> {
        let (Term::Norm(inner) | Term::Logsum(inner) | Term::Fst(inner) | Term::Snd(inner)) = self.node(id) else {
            return None;
        };
        let whole = matches!(self.node(id), Term::Norm(_) | Term::Logsum(_));
        let (domain, max, sums) = self.online(if whole { *inner } else { id })?;
        let value = match (self.node(id), sums) {
            // The largest of the scores alone.
            (_, None) => return (!whole).then(|| self.fold("max", domain, max)),
            (Term::Norm(_), Some(sums)) => {
                let Term::Pair([sum, count]) = self.node(sums) else { return None };
                format!("{} / {}", self.at(*sum, PRODUCT), self.at(*count, ATOM))
            }
            (Term::Logsum(_), Some(mut count)) => {
                while let Term::Pair([_, last]) = self.node(count) {
                    count = *last;
                }
                format!("{} + log({})", self.at(max, SUM), self.at(count, ANY))
            }
            (_, Some(sum)) => self.at(sum, ANY),
        };
        let (axis, conditions) = self.domain(domain);
        let condition = restriction(&conditions).map_or(String::new(), |condition| format!(" where {condition}"));
        Some((format!("merge[{axis}]({value} by {}{condition})", self.at(max, SUM)), ATOM))
    }

    /// An online softmax, or a component of one: its domain, its scores, and which of its sums are meant; None for the largest
    /// score.
    fn online(&self, id: Id) -> Option<(Id, Id, Option<Id>)> {
        match self.node(id) {
            Term::Fold([monoid, domain, body]) => match (self.node(*monoid), self.node(*body)) {
                (Term::Monoid(Monoid::Lse), Term::Pair([max, sums])) => Some((*domain, *max, Some(*sums))),
                _ => None,
            },
            Term::Fst(x) | Term::Snd(x) => {
                let first = matches!(self.node(id), Term::Fst(_));
                let (domain, max, sums) = self.online(*x)?;
                match (self.node(*x), self.node(sums?)) {
                    (Term::Fold(_), _) => Some((domain, max, sums.filter(|_| !first))),
                    (_, Term::Pair([a, b])) => Some((domain, max, Some(if first { *a } else { *b }))),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// All conditions of a domain as one; None if there are none.
fn restriction(conditions: &[(String, u8)]) -> Option<String> {
    let part = |(text, level): &(String, u8)| {
        if conditions.len() > 1 && *level <= OR { format!("({text})") } else { text.clone() }
    };
    let all: Vec<String> = conditions.iter().map(part).collect();
    (!all.is_empty()).then(|| all.join(" && "))
}

/// What the language calls a fold.
fn fold_name(monoid: &Term) -> &'static str {
    match monoid {
        Term::Monoid(Monoid::Max) => "max",
        Term::Monoid(Monoid::Min) => "min",
        Term::Monoid(Monoid::Lse) => "online softmax",
        _ => "sum",
    }
}

/// A real with as many figures as say something.
fn number(value: f64) -> String {
    let short = format!("{value:.6}");
    match short.parse::<f64>() {
        Ok(same) if same == value => short.trim_end_matches('0').trim_end_matches('.').into(),
        Ok(_) if value.is_finite() && value.abs() >= 0.01 && value.abs() < 1e6 => short,
        _ => format!("{value}"),
    }
}
