//! How long run-time axes are: as the user says, as given tensors have them, or as nobody says.

use crate::failure::Failure;
use crate::settings::Lengths;
use crate::sparsity;
use nsa_dsl::Program;
use nsa_dsl::program::{AxisId, Extent, Source};
use nsa_measure::{Demand, Tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// The length of run-time axes that nobody gave.
const DEFAULT_LENGTH: usize = 1024;

/// A file of tensors, as far as its lengths matter.
pub struct Given<'a> {
    pub path: &'a Path,
    pub tensors: &'a Tensors,
}

/// Lengths of all run-time axes: those of --set, for others the packed batch of --lengths, else what given tensors have, else 1024.
///
/// # Errors
/// Two of these that contradict each other.
pub fn lengths(program: &Program, set: &Lengths, packed: &[usize], given: Option<&Given>) -> Result<Lengths, Failure> {
    let sequences = match (set.first_key_value(), packed.len()) {
        (Some((axis, own)), all) if all > 0 && own.len() != all => {
            let counts = format!("--set gives {} of `{axis}`, --lengths {all}", own.len());
            return Err(format!("{counts}: every sequence of a batch has one length of each axis").into());
        }
        (Some((_, own)), _) => own.len(),
        (None, 0) => 1,
        (None, all) => all,
    };
    if !packed.is_empty() && program.runtime_axes().all(|axis| set.contains_key(&axis.name)) {
        return Err("--lengths is for the run-time axes that --set leaves out, and none is left".to_string().into());
    }
    let found = match given {
        // A tensor of several sequences does not say where each ends.
        Some(given) if sequences == 1 => of_tensors(program, given)?,
        _ => BTreeMap::new(),
    };
    let mut lengths = Lengths::new();
    for axis in program.runtime_axes() {
        let name = &axis.name;
        let (told, list) = match (set.get(name), found.get(name)) {
            (Some(list), _) => ("--set", list.clone()),
            (None, _) if !packed.is_empty() => ("--lengths", packed.to_vec()),
            (None, Some((length, _))) => ("--inputs", vec![*length]),
            (None, None) if sequences > 1 => {
                return Err(format!("the lengths of `{name}` are missing, {sequences} as of the other axes: say {name}=... after --set, or --lengths for all axes that --set leaves out").into());
            }
            (None, None) => ("nobody", vec![DEFAULT_LENGTH]),
        };
        if let Some((length, tensor)) = found.get(name)
            && list != [*length]
        {
            return Err(contradiction(told, name, list[0], tensor));
        }
        lengths.insert(name.clone(), list);
    }
    Ok(lengths)
}

/// One sequence's lengths of run-time axes as far as --set or given tensors say them.
///
/// # Errors
/// They contradict each other.
pub fn with_tensors(
    program: &Program,
    set: &BTreeMap<String, usize>,
    given: Option<&Given>,
) -> Result<BTreeMap<String, usize>, Failure> {
    let mut lengths = set.clone();
    let found = given.map_or(Ok(BTreeMap::new()), |given| of_tensors(program, given))?;
    for (axis, (length, said)) in found {
        let told = *lengths.entry(axis.clone()).or_insert(length);
        if told != length {
            return Err(contradiction("--set", &axis, told, &said));
        }
    }
    Ok(lengths)
}

fn contradiction(who: &str, axis: &str, length: usize, said: &str) -> Failure {
    format!("{who} says that `{axis}` has the length {length}, but {said}").into()
}

/// The lengths of the run-time axes of given tensors, each with what says so.
fn of_tensors(program: &Program, given: &Given) -> Result<BTreeMap<String, (usize, String)>, Failure> {
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (_, parameter) in program.params() {
        let Some(tensor) = given.tensors.get(&parameter.name) else { continue };
        let names: Vec<&str> = parameter.axes.iter().map(|axis| program.axis(*axis).name.as_str()).collect();
        let (name, shape) = (&parameter.name, tensor.shape());
        if shape.len() != names.len() {
            let (path, axes) = (given.path.display(), names.join(", "));
            return Err(format!("`{name}` in {path} is {tensor:?}, but has the axes [{axes}] in the program").into());
        }
        for (axis, length) in parameter.axes.iter().zip(shape) {
            let axis = program.axis(*axis);
            if axis.extent != Extent::Runtime {
                continue;
            }
            let said =
                format!("`{name}` in {} is {tensor:?} with the axes [{}]", given.path.display(), names.join(", "));
            match found.get(&axis.name) {
                Some((other, first)) if other != length => {
                    return Err(format!("{first}, and {said}: `{}` has two lengths", axis.name).into());
                }
                Some(_) => {}
                None => {
                    found.insert(axis.name.clone(), (*length, said));
                }
            }
        }
    }
    Ok(found)
}

/// The one length of each axis that was given; a batch is an error about `what`, which is for one sequence.
pub fn single(lengths: &Lengths, what: &str) -> Result<BTreeMap<String, usize>, Failure> {
    let one = |(axis, list): (&String, &Vec<usize>)| match list[..] {
        [length] => Ok((axis.clone(), length)),
        _ => Err(format!("{what} is about one sequence, but --set gives {} lengths of `{axis}`", list.len()).into()),
    };
    lengths.iter().map(one).collect()
}

/// What arguments and results of these lengths take in memory: `bytes` of an element, all copies of it together.
pub fn demand(program: &Program, lengths: &Lengths, bytes: impl Fn(bool, usize) -> usize) -> Demand {
    let mut demand = Demand::default();
    let sequences = lengths.values().map(Vec::len).max().unwrap_or(1);
    let mut extents: Vec<Vec<usize>> = vec![vec![]; program.axes.len()];
    for sequence in 0..sequences {
        let own = lengths.iter().filter_map(|(axis, list)| Some((axis.clone(), *list.get(sequence)?))).collect();
        for (all, length) in extents.iter_mut().zip(sparsity::lengths(program, &own)) {
            all.push(length);
        }
    }
    let results = program.results.iter().map(|id| (*id, program.tensor(*id)));
    for (id, tensor) in program.params().chain(results) {
        let mut packed = false;
        let extent = |axis: &AxisId| {
            let all = &extents[axis.0 as usize];
            // The first axis that sequences have of their own is packed, further ones are as long as the longest.
            let first = !packed && !matches!(program.axis(*axis).extent, Extent::Const(_));
            packed |= first;
            if first {
                all.iter().fold(0, |sum: usize, n| sum.saturating_add(*n))
            } else {
                all.iter().copied().max().unwrap_or(0)
            }
        };
        let shape: Vec<usize> = tensor.axes.iter().map(extent).collect();
        let argument = program.tensor(id).source == Source::Param;
        let dtype = tensor.dtype.unwrap_or(program.element);
        let what = format!("{} `{}`: {}", if argument { "argument" } else { "result" }, tensor.name, dtype.name());
        demand.tensor(&what, &shape, bytes(argument, dtype.bytes()));
    }
    demand
}

#[cfg(test)]
mod tests {
    use super::*;
    use nsa::DType;
    use nsa_measure::Tensor;

    const TEXT: &str = "kernel f(q[t, d = 4], k[s, d], m[t, s]) -> o[t, d] { sum[s] q * k * m }";

    fn lengths_of(set: &[(&str, &[usize])], packed: &[usize], tensors: &[(&str, &[usize])]) -> Result<Lengths, String> {
        let program = nsa_dsl::compile_source("f.nsa", TEXT, &Default::default()).expect("right");
        let set = set.iter().map(|(axis, list)| (axis.to_string(), list.to_vec())).collect();
        let tensors = tensors.iter().map(|(name, shape)| (name.to_string(), Tensor::filled(DType::Bf16, shape, 0)));
        let tensors = tensors.collect();
        let given = Given { path: Path::new("in.st"), tensors: &tensors };
        lengths(&program, &set, packed, Some(&given)).map_err(|failure| match failure {
            Failure::Sentence(text) => text,
            _ => panic!("no sentence"),
        })
    }

    fn pair(t: &[usize], s: &[usize]) -> Result<Lengths, String> {
        Ok(Lengths::from([("t".to_string(), t.to_vec()), ("s".to_string(), s.to_vec())]))
    }

    #[test]
    fn whoever_says_something_first() {
        assert_eq!(lengths_of(&[], &[], &[]), pair(&[1024], &[1024]));
        assert_eq!(lengths_of(&[("t", &[3])], &[], &[]), pair(&[3], &[1024]));
        assert_eq!(lengths_of(&[("t", &[3])], &[], &[("k", &[9, 4])]), pair(&[3], &[9]));
        assert_eq!(lengths_of(&[], &[], &[("m", &[7, 9])]), pair(&[7], &[9]));
        assert_eq!(lengths_of(&[], &[1, 2], &[("q", &[3, 4])]), pair(&[1, 2], &[1, 2]));
        assert_eq!(lengths_of(&[("t", &[1, 0])], &[5, 9], &[]), pair(&[1, 0], &[5, 9]));
    }

    #[test]
    fn contradictions() {
        let why = |set: &[(&str, &[usize])], packed: &[usize], tensors: &[(&str, &[usize])]| {
            lengths_of(set, packed, tensors).expect_err("a contradiction")
        };
        assert_eq!(
            why(&[], &[], &[("q", &[7, 4]), ("m", &[8, 9])]),
            "`q` in in.st is bf16 [7, 4] with the axes [t, d], and `m` in in.st is bf16 [8, 9] with the axes [t, s]: `t` has two lengths"
        );
        assert_eq!(
            why(&[("t", &[3])], &[], &[("q", &[7, 4])]),
            "--set says that `t` has the length 3, but `q` in in.st is bf16 [7, 4] with the axes [t, d]"
        );
        assert_eq!(why(&[], &[], &[("q", &[7])]), "`q` in in.st is bf16 [7], but has the axes [t, d] in the program");
        assert_eq!(
            why(&[("t", &[1, 2])], &[3], &[]),
            "--set gives 2 of `t`, --lengths 1: every sequence of a batch has one length of each axis"
        );
        assert!(
            why(&[("t", &[1]), ("s", &[1])], &[1], &[]).starts_with("--lengths is for the run-time axes that --set")
        );
        assert!(why(&[("t", &[1, 2])], &[], &[]).starts_with("the lengths of `s` are missing, 2 as of the other axes"));
    }

    #[test]
    fn packed_axes_add_up_and_further_ones_are_padded() {
        let program = nsa_dsl::compile_source("f.nsa", TEXT, &Default::default()).expect("right");
        let lengths = pair(&[10, 20], &[5, 7]).expect("lengths");
        // q: 30 x 4, k: 12 x 4, m: 30 x 7 arguments of 2 bytes, o: 30 x 4.
        let bytes = demand(&program, &lengths, |argument, size| if argument { size } else { 100 }).bytes();
        assert_eq!(bytes, (120 + 48 + 210) * 2 + 120 * 100);
    }
}
