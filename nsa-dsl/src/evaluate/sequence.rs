//! The tensors of one sequence.

use super::analysis::Analysis;
use super::arrays::{EvalError, Inputs, Values};
use super::choices::Choices;
use super::rows;
use crate::program::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Stack of the threads that evaluate: definitions are asked for from inside others.
const STACK_BYTES: usize = 128 << 20;

/// Most elements of an argument, or of one row of a definition: 8 GB of numbers.
const MAX_ELEMENTS: usize = 1 << 30;
/// Most rows of a definition; each takes some memory before it is evaluated.
const MAX_ROWS: usize = 1 << 26;

/// Elements of a definition for one value of its row axis.
pub(super) enum Row {
    Real(Box<[f64]>),
    Integer(Box<[i64]>),
}

/// Where the elements of a tensor are.
pub(super) enum Data<'a> {
    Real(&'a [f64]),
    Integer(&'a [i64]),
    /// A definition: rows by the value of the axis at this place; one row if the definition has no axes.
    Rows(Option<usize>, Vec<OnceLock<Row>>),
}

/// A tensor of a sequence.
pub(super) struct Stored<'a> {
    pub shape: Vec<i64>,
    /// Distance of neighbours along each axis; 0 along the row axis.
    pub strides: Vec<usize>,
    pub data: Data<'a>,
}

/// How a load whose indices are axes and constants finds its element: always inside its tensor.
pub(super) struct Access {
    /// The axis that chooses the row, if the tensor has rows.
    pub row: Option<AxisId>,
    pub offset: usize,
    /// Axes with the distances of neighbours along them.
    pub terms: Vec<(AxisId, usize)>,
}

/// One sequence's tensors, evaluated as they are asked for.
pub(super) struct Sequence<'a> {
    pub program: &'a Program,
    pub analysis: Arc<Analysis>,
    pub extents: Vec<i64>,
    pub tensors: Vec<Stored<'a>>,
    /// For each expression that is such a load.
    pub accesses: Vec<Option<Access>>,
    /// Lists that are to be used for `top` definitions.
    given: Vec<Option<&'a [i64]>>,
    /// What was said of those that were used, by tensor.
    choices: Mutex<BTreeMap<u32, Choices>>,
    failed: AtomicBool,
    error: Mutex<Option<EvalError>>,
}

impl<'a> Sequence<'a> {
    /// `offsets` say where each argument's elements of this sequence begin, and are moved to the next sequence's.
    pub fn new(
        program: &'a Program,
        analysis: Arc<Analysis>,
        inputs: &'a Inputs,
        extents: Vec<i64>,
        offsets: &mut [usize],
    ) -> Result<Self, EvalError> {
        let (mut tensors, mut given) = (vec![], vec![]);
        for (number, tensor) in program.tensors.iter().enumerate() {
            let shape: Vec<i64> = tensor.axes.iter().map(|axis| extents[axis.0 as usize]).collect();
            let row = analysis.plans[number].row;
            let mut strides = vec![0; shape.len()];
            let too_large = || EvalError::TooLarge { name: tensor.name.clone(), shape: shape.clone() };
            let mut size = 1usize;
            for place in (0..shape.len()).rev() {
                if Some(place) != row {
                    strides[place] = size;
                    size =
                        usize::try_from(shape[place]).ok().and_then(|n| size.checked_mul(n)).ok_or_else(too_large)?;
                }
            }
            let rows = row.map_or(1, |row| shape[row] as usize);
            if size > MAX_ELEMENTS || rows > MAX_ROWS {
                return Err(too_large());
            }
            let data = if tensor.source == Source::Param {
                let runtime = tensor.axes.iter().any(|&axis| program.axis(axis).extent == Extent::Runtime);
                // Arguments without run-time axes are the same for all sequences.
                let start = if runtime { offsets[number] } else { 0 };
                let end = start.checked_add(size).ok_or_else(too_large)?;
                offsets[number] = end;
                let values = inputs.values(tensor)?;
                let wrong = || EvalError::WrongSize { name: tensor.name.clone(), expected: end, given: values.len() };
                match values {
                    Values::Real(all) => Data::Real(all.get(start..end).ok_or_else(wrong)?),
                    Values::Integer(all) => Data::Integer(all.get(start..end).ok_or_else(wrong)?),
                }
            } else {
                Data::Rows(row, std::iter::repeat_with(OnceLock::new).take(rows).collect())
            };
            let all = inputs.lists(tensor);
            given.push(match all {
                Some(lists) => {
                    let start = offsets[number];
                    let end = start + shape.iter().map(|&n| n as usize).product::<usize>();
                    offsets[number] = end;
                    let wrong =
                        || EvalError::WrongSize { name: tensor.name.clone(), expected: end, given: lists.len() };
                    Some(lists.get(start..end).ok_or_else(wrong)?)
                }
                None => None,
            });
            tensors.push(Stored { shape, strides, data });
        }
        let accesses = program.exprs.iter().map(|expr| access(program, &tensors, &extents, expr)).collect();
        Ok(Sequence {
            program,
            analysis,
            extents,
            tensors,
            accesses,
            given,
            choices: Mutex::default(),
            failed: AtomicBool::new(false),
            error: Mutex::new(None),
        })
    }

    pub fn is_integer(&self, tensor: TensorId) -> bool {
        self.analysis.integer[tensor.0 as usize]
    }

    pub fn shape(&self, tensor: TensorId) -> Vec<usize> {
        self.tensors[tensor.0 as usize].shape.iter().map(|&n| n as usize).collect()
    }

    /// The lists that are to be used for a `top` definition, in the order of its axes.
    pub fn given(&self, tensor: TensorId) -> Option<&'a [i64]> {
        self.given[tensor.0 as usize]
    }

    /// Notes what is to be said of lists that were used.
    pub fn judged(&self, tensor: TensorId, choices: Choices) {
        let mut all = self.choices.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = all.entry(tensor.0).or_default();
        *known = known.and(choices);
    }

    /// What was said of a definition's lists, as far as they were used.
    pub fn choices(&self, tensor: TensorId) -> Choices {
        let all = self.choices.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.get(&tensor.0).copied().unwrap_or_default()
    }

    /// Notes an error; evaluation goes on with some value.
    pub fn fail(&self, error: EvalError) {
        self.failed.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
    }

    pub fn out_of_range(&self, tensor: TensorId, place: usize, index: i64) {
        let definition = self.program.tensor(tensor);
        self.fail(EvalError::OutOfRange {
            name: definition.name.clone(),
            axis: self.program.axis(definition.axes[place]).name.clone(),
            index,
            extent: self.tensors[tensor.0 as usize].shape[place],
        });
    }

    /// A row of a definition, evaluated if it was not yet.
    pub fn row<'s>(&'s self, tensor: TensorId, rows: &'s [OnceLock<Row>], at: usize) -> &'s Row {
        rows[at].get_or_init(|| rows::compute(self, tensor, at))
    }

    /// Evaluates a tensor, or only some values of one of its axes.
    pub fn force(&self, tensor: TensorId, only: Option<(usize, &[usize])>) -> Result<(), EvalError> {
        if let Data::Rows(row_place, rows) = &self.tensors[tensor.0 as usize].data {
            let wanted: Vec<usize> = match only {
                Some((place, values)) if Some(place) == *row_place => values.to_vec(),
                _ => (0..rows.len()).collect(),
            };
            self.parallel(wanted.len(), |number| {
                self.row(tensor, rows, wanted[number]);
            })?;
        }
        self.failure()
    }

    /// The results of `work` for the numbers below `count`, on all processors, with room to evaluate definitions in; an error
    /// that one of them met.
    pub fn parallel<T: Send>(&self, count: usize, work: impl Fn(usize) -> T + Sync) -> Result<Vec<T>, EvalError> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(count));
        let run = || {
            let mut own = vec![];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || self.failed.load(Ordering::Relaxed) {
                    break;
                }
                own.push((number, work(number)));
            }
            done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).append(&mut own);
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(count);
        std::thread::scope(|scope| {
            for number in 0..threads {
                let thread = std::thread::Builder::new().name("nsa-evaluate".into()).stack_size(STACK_BYTES);
                // One thread is enough to go on with.
                if let Err(error) = thread.spawn_scoped(scope, run)
                    && number == 0
                {
                    return Err(EvalError::NoThread(error.to_string()));
                }
            }
            Ok(())
        })?;
        self.failure()?;
        let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        done.sort_unstable_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }

    /// The first error that evaluation met.
    fn failure(&self) -> Result<(), EvalError> {
        match &*self.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Appends all elements, in the order of the axes.
    pub fn append(&self, tensor: TensorId, out: &mut Values) {
        self.append_where(tensor, None, out);
    }

    /// Appends the elements at one value of an axis.
    pub fn append_slice(&self, tensor: TensorId, place: usize, value: usize, out: &mut Values) {
        self.append_where(tensor, Some((place, value)), out);
    }

    fn append_where(&self, tensor: TensorId, only: Option<(usize, usize)>, out: &mut Values) {
        let stored = &self.tensors[tensor.0 as usize];
        let ranges: Vec<(usize, usize)> = (0..stored.shape.len())
            .map(|place| match only {
                Some((fixed, value)) if fixed == place => (value, value + 1),
                _ => (0, stored.shape[place] as usize),
            })
            .collect();
        if ranges.iter().any(|(start, end)| start >= end) {
            return;
        }
        let mut index: Vec<usize> = ranges.iter().map(|range| range.0).collect();
        loop {
            let offset: usize = index.iter().zip(&stored.strides).map(|(i, stride)| i * stride).sum();
            match (&stored.data, &mut *out) {
                (Data::Real(all), Values::Real(out)) => out.push(all[offset]),
                (Data::Integer(all), Values::Integer(out)) => out.push(all[offset]),
                (Data::Rows(place, rows), out) => {
                    match (self.row(tensor, rows, place.map_or(0, |place| index[place])), out) {
                        (Row::Real(row), Values::Real(out)) => out.push(row[offset]),
                        (Row::Integer(row), Values::Integer(out)) => out.push(row[offset]),
                        _ => {}
                    }
                }
                _ => {}
            }
            // The next index, the last axis fastest.
            let mut place = index.len();
            loop {
                if place == 0 {
                    return;
                }
                place -= 1;
                index[place] += 1;
                if index[place] < ranges[place].1 {
                    break;
                }
                index[place] = ranges[place].0;
            }
        }
    }
}

/// The simple way to an element, if there is one.
fn access(program: &Program, tensors: &[Stored], extents: &[i64], expr: &Expr) -> Option<Access> {
    let Expr::Load(tensor, index) = expr else { return None };
    let stored = &tensors[tensor.0 as usize];
    let row_place = match stored.data {
        Data::Rows(place, _) => place,
        _ => None,
    };
    let mut access = Access { row: None, offset: 0, terms: vec![] };
    for (place, &index) in index.iter().enumerate() {
        match *program.expr(index) {
            Expr::Axis(axis) if extents[axis.0 as usize] <= stored.shape[place] => {
                if Some(place) == row_place {
                    access.row = Some(axis);
                } else {
                    access.terms.push((axis, stored.strides[place]));
                }
            }
            Expr::Int(value) if Some(place) != row_place && (0..stored.shape[place]).contains(&value) => {
                access.offset += value as usize * stored.strides[place];
            }
            _ => return None,
        }
    }
    Some(access)
}
