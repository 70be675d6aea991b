//! Printing terms: a definition at a time, with names for what it uses more than once.

use super::{AxisName, Definition, Term, Terms};
use egg::{Id, Language, RecExpr};
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

/// Width that lines are broken at.
const WIDTH: usize = 110;
/// Terms of fewer nodes are repeated rather than named.
const WORTH_A_NAME: usize = 4;

/// Each definition as `$name[@axes] = term`; terms that are used again are named `%0`, `%1`, .. in lines before it.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, definition) in self.definitions.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write_definition(f, &self.nodes, definition)?;
        }
        Ok(())
    }
}

fn write_definition(f: &mut fmt::Formatter<'_>, nodes: &RecExpr<Term>, definition: &Definition) -> fmt::Result {
    let axes: Vec<String> = definition.axes.iter().map(AxisName::to_string).collect();
    let mut writer = Writer { nodes, names: HashMap::new() };
    for (number, id) in shared(nodes, definition.root).into_iter().enumerate() {
        let mut text = String::new();
        writer.term(&mut text, id, 2)?;
        writeln!(f, "  %{number} = {text}")?;
        writer.names.insert(id, number);
    }
    let mut text = String::new();
    writer.term(&mut text, definition.root, 2)?;
    let result = if definition.result { "result " } else { "" };
    writeln!(f, "{result}{}[{}] = {text}", definition.tensor, axes.join(", "))
}

/// What is used more than once and worth a name, operands first.
fn shared(nodes: &RecExpr<Term>, root: Id) -> Vec<Id> {
    let mut uses: HashMap<Id, usize> = HashMap::new();
    let (mut seen, mut stack) = (HashSet::from([root]), vec![root]);
    while let Some(id) = stack.pop() {
        for child in nodes[id].children() {
            *uses.entry(*child).or_default() += 1;
            if seen.insert(*child) {
                stack.push(*child);
            }
        }
    }
    // ids are in topological order: operands come first
    let mut named: Vec<Id> = uses.into_iter().filter(|(_, uses)| *uses > 1).map(|(id, _)| id).collect();
    named.retain(|id| size(nodes, *id) >= WORTH_A_NAME);
    named.sort_unstable();
    named
}

/// Nodes of a term as a tree, as far as it matters.
fn size(nodes: &RecExpr<Term>, root: Id) -> usize {
    let mut count = 0;
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        count += 1;
        if count >= WORTH_A_NAME {
            break;
        }
        stack.extend(nodes[id].children());
    }
    count
}

struct Writer<'a> {
    nodes: &'a RecExpr<Term>,
    names: HashMap<Id, usize>,
}

impl Writer<'_> {
    fn term(&self, text: &mut String, id: Id, indent: usize) -> fmt::Result {
        let flat = self.flat(id);
        if flat.len() + indent <= WIDTH || self.nodes[id].is_leaf() || self.names.contains_key(&id) {
            return text.write_str(&flat);
        }
        // the head and its first short operands on one line, each other operand on its own
        write!(text, "({}", self.nodes[id])?;
        let mut broken = false;
        for child in self.nodes[id].children() {
            let short = self.flat(*child).len() <= WIDTH / 3;
            if short && !broken {
                text.push(' ');
            } else {
                broken = true;
                write!(text, "\n{:1$}", "", indent + 2)?;
            }
            self.term(text, *child, indent + 2)?;
        }
        text.push(')');
        Ok(())
    }

    fn flat(&self, id: Id) -> String {
        if let Some(number) = self.names.get(&id) {
            return format!("%{number}");
        }
        let node = &self.nodes[id];
        if node.is_leaf() {
            return node.to_string();
        }
        let operands: Vec<String> = node.children().iter().map(|child| self.flat(*child)).collect();
        format!("({node} {})", operands.join(" "))
    }
}

/// A term on one line, what is deeper than `depth` left out.
pub(super) fn abbreviated(nodes: &RecExpr<Term>, id: Id, depth: usize) -> String {
    let node = &nodes[id];
    if node.is_leaf() {
        return node.to_string();
    }
    if depth == 0 {
        return format!("({node} ..)");
    }
    let operands: Vec<String> = node.children().iter().map(|child| abbreviated(nodes, *child, depth - 1)).collect();
    format!("({node} {})", operands.join(" "))
}
