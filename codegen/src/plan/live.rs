//! How many of a kernel's variables are alive at once.

use super::*;
use std::collections::BTreeMap;

/// The most registers that variables take at any statement of a kernel: `size` is what one takes, `read` lists those that a term
/// reads. A variable is alive from the statement that sets it to the last one that touches it; one from before a loop is alive
/// until the loop ends. Where it is read for the last time, it makes room: for the variable that is set, element by element;
/// half of it where it is a factor, which is in a 16-bit type.
pub(super) fn peak(kernel: &Kernel, size: &dyn Fn(&Variable) -> u32, read: &dyn Fn(Id) -> Vec<Var>) -> u32 {
    let mut ranges = Ranges { now: 0, of: BTreeMap::new(), left: BTreeMap::new(), loops: vec![], read };
    ranges.body(&kernel.body);
    let Ranges { now, mut of, left, loops, .. } = ranges;
    // Inner loops come first.
    for (start, end) in loops {
        for (first, last) in of.values_mut() {
            if *first < start && (start..end).contains(last) {
                *last = end;
            }
        }
    }
    let alive = |at: u32| -> u32 {
        let taken =
            of.iter().filter(|(_, (first, last))| (first..=last).contains(&&at)).filter_map(|(var, (_, last))| {
                let all = size(kernel.variables.get(*var as usize)?);
                Some(if *last == at { all * left.get(&(at, *var)).unwrap_or(&2) / 2 } else { all })
            });
        taken.sum()
    };
    (0..=now).map(alive).max().unwrap_or(0)
}

struct Ranges<'r> {
    /// The number of the statement.
    now: u32,
    /// The first and the last statement that touches a variable.
    of: BTreeMap<Var, (u32, u32)>,
    /// Halves of a variable that a statement keeps if nothing reads it afterwards.
    left: BTreeMap<(u32, Var), u32>,
    /// First and last statements of loops.
    loops: Vec<(u32, u32)>,
    read: &'r dyn Fn(Id) -> Vec<Var>,
}

impl Ranges<'_> {
    fn body(&mut self, body: &[Statement]) {
        for statement in body {
            self.now += 1;
            self.statement(statement);
        }
    }

    fn touch(&mut self, vars: &[Var]) {
        for var in vars {
            let (_, last) = self.of.entry(*var).or_insert((self.now, self.now));
            *last = self.now;
        }
    }

    fn terms(&mut self, terms: &[Id]) {
        for term in terms {
            self.touch(&(self.read)(*term));
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Set { var, expr } => {
                self.touch(&[*var]);
                for read in (self.read)(*expr).into_iter().filter(|read| read != var) {
                    self.touch(&[read]);
                    self.left.insert((self.now, read), 0);
                }
            }
            Statement::Dot { var, a, .. } => {
                self.touch(&[*var]);
                if let Operand::Var(a) = a {
                    self.touch(&[*a]);
                    self.left.insert((self.now, *a), 1);
                }
            }
            Statement::Mask { var, keep, .. } => {
                self.touch(&[*var]);
                self.terms(&[*keep]);
            }
            Statement::Reduce { var, from, .. } => self.touch(&[*var, *from]),
            Statement::Online { score, max, rescale, .. } => {
                self.touch(&[*score, *max]);
                self.touch(rescale);
            }
            Statement::Stage { from, .. } => self.touch(&[*from]),
            Statement::Insert { score, force, among, .. } => self.terms(&[*score, *force, *among]),
            Statement::Store { index, value, .. } => {
                self.terms(index);
                self.terms(&[*value]);
            }
            Statement::StoreList { index, .. } => self.terms(index),
            Statement::Fetch { .. } => {}
            Statement::Loop(inner) => {
                let start = self.now;
                self.body(&inner.body);
                self.now += 1;
                for merge in &inner.merge {
                    self.touch(&merge.values);
                    self.touch(merge.max.map(|(max, _)| max).as_slice());
                }
                self.loops.push((start, self.now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(var: Var) -> Statement {
        Statement::Set { var, expr: Id::from(0) }
    }

    fn reduce(var: Var, from: Var) -> Statement {
        Statement::Reduce { var, from, monoid: crate::term::Monoid::Add }
    }

    fn kernel(variables: usize, body: Vec<Statement>) -> Kernel {
        Kernel {
            name: "k".into(),
            grid: vec![],
            rows: vec![],
            layout: Layout::Elements { threads: 32 },
            variables: vec![Variable { label: "x".into(), rows: true, columns: None }; variables],
            tiles: vec![],
            stages: vec![],
            lists: vec![],
            body,
        }
    }

    fn repeated(body: Vec<Statement>) -> Statement {
        let zero = Id::from(0);
        let axis = AxisName::new("s");
        Statement::Loop(Box::new(Loop {
            axis,
            tile: 1,
            lo: zero,
            hi: zero,
            full: None,
            walk: None,
            merge: vec![],
            body,
        }))
    }

    #[test]
    fn what_is_no_longer_read_takes_nothing() {
        let count = |kernel: &Kernel| peak(kernel, &|_| 1, &|_| vec![]);
        assert_eq!(count(&kernel(0, vec![])), 0);
        // Terms that read 0: 1 takes its place, unless it is read again.
        let read = |kernel: &Kernel| peak(kernel, &|_| 1, &|_| vec![0]);
        assert_eq!(read(&kernel(2, vec![set(0), set(1)])), 1);
        assert_eq!(read(&kernel(2, vec![set(0), set(1), reduce(1, 0)])), 2);
        // 0 -> 1, 1 -> 2: two at a time.
        assert_eq!(count(&kernel(3, vec![set(0), reduce(1, 0), reduce(2, 1)])), 2);
        // 0 is read at the head of every iteration: alive beside 1 and 2.
        assert_eq!(count(&kernel(3, vec![set(0), repeated(vec![reduce(1, 0), reduce(2, 1)])])), 3);
        // A factor at its end is half as large; one that is read again is not.
        let product = |var, a| {
            let depth = Span { axis: AxisName::new("s"), count: 1 };
            Statement::Dot { var, a: Operand::Var(a), b: 0, depth, accumulate: false }
        };
        let twos = |kernel: &Kernel| peak(kernel, &|_| 2, &|_| vec![]);
        assert_eq!(twos(&kernel(2, vec![set(0), product(1, 0)])), 3);
        assert_eq!(twos(&kernel(2, vec![set(0), product(1, 0), reduce(1, 0)])), 4);
        // 1 and 2 are of one iteration: they are not beside 3.
        let loops = vec![repeated(vec![set(1), reduce(2, 1)]), set(3), reduce(0, 3)];
        assert_eq!(count(&kernel(4, loops)), 2);
    }
}
