//! Tensors in host memory, by name, and the safetensors files they come from.

use crate::Error;
use half::{bf16, f16};
use nsa::{DType, View};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// One cache line, to align the elements of every type.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A row-major tensor in host memory, aligned to 64 bytes.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    lines: Vec<Line>,
    bytes: usize,
}

impl Tensor {
    /// A tensor whose every byte is `byte`: 0 for zeros; 0xff for NaN and -1.
    pub fn filled(dtype: DType, shape: &[usize], byte: u8) -> Self {
        // Shapes whose elements exceed the address space have no memory: the allocation below says so.
        let bytes = shape.iter().fold(dtype.bytes(), |product, extent| product.saturating_mul(*extent));
        Tensor { dtype, shape: shape.to_vec(), lines: vec![Line([byte; 64]); bytes.div_ceil(64)], bytes }
    }

    /// A tensor of these numbers, rounded to the type; missing ones are 0.
    pub fn from_f64(dtype: DType, shape: &[usize], numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut tensor = Tensor::filled(dtype, shape, 0);
        let places = tensor.bytes_mut().chunks_exact_mut(dtype.bytes());
        for (place, x) in places.zip(numbers) {
            match dtype {
                DType::Bf16 => place.copy_from_slice(&bf16::from_f64(x).to_ne_bytes()),
                DType::F16 => place.copy_from_slice(&f16::from_f64(x).to_ne_bytes()),
                DType::F32 => place.copy_from_slice(&(x as f32).to_ne_bytes()),
                DType::I32 => place.copy_from_slice(&(x as i32).to_ne_bytes()),
            }
        }
        tensor
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of the elements, in the machine's byte order.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the lines hold at least so many bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes) }
    }

    /// The same, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.bytes) }
    }

    /// One element.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn get(&self, index: usize) -> f64 {
        let size = self.dtype.bytes();
        let bytes = &self.bytes()[index * size..][..size];
        match self.dtype {
            DType::Bf16 => bf16::from_ne_bytes([bytes[0], bytes[1]]).to_f64(),
            DType::F16 => f16::from_ne_bytes([bytes[0], bytes[1]]).to_f64(),
            DType::F32 => f64::from(f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            DType::I32 => f64::from(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        }
    }

    /// All elements.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.elements()).map(|n| self.get(n)).collect()
    }

    /// The tensor as an argument.
    pub fn view(&self) -> View<'_> {
        // SAFETY: the tensor is borrowed as long as the view, has that type and shape, and is not written.
        unsafe { View::host_address(self.lines.as_ptr() as *mut u8, self.dtype, &self.shape) }.read_only()
    }

    /// The tensor as a result.
    pub fn view_mut(&mut self) -> View<'_> {
        // SAFETY: the tensor is exclusively borrowed as long as the view, and has that type and shape.
        unsafe { View::host_address(self.lines.as_mut_ptr().cast(), self.dtype, &self.shape) }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

/// Reads all tensors of a safetensors file. i64 tensors become i32 where their values allow it; nothing is rounded.
///
/// # Errors
/// A file that cannot be read, is damaged, or has tensors of other types.
pub fn read_tensors(path: &Path) -> Result<Tensors, Error> {
    let wrong = |reason: String| Error::File { path: path.display().to_string(), reason };
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    parse_tensors(&bytes).map_err(wrong)
}

/// The tensors of a safetensors file that is in memory, copied; needs memory in proportion to the file.
///
/// # Errors
/// As [`read_tensors`]: what is wrong with the file.
pub fn parse_tensors(file: &[u8]) -> Result<Tensors, String> {
    let file = safetensors::SafeTensors::deserialize(file).map_err(|e| format!("this is no safetensors file: {e}"))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let tensor = convert(&view).map_err(|reason| format!("`{name}` {reason}"))?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(tensors)
}

fn convert(view: &TensorView<'_>) -> Result<Tensor, String> {
    let plain = |dtype: DType| {
        let mut tensor = Tensor::filled(dtype, view.shape(), 0);
        // Files are little-endian, as are all targets.
        tensor.bytes_mut().copy_from_slice(view.data());
        tensor
    };
    Ok(match view.dtype() {
        Dtype::BF16 => plain(DType::Bf16),
        Dtype::F16 => plain(DType::F16),
        Dtype::F32 => plain(DType::F32),
        Dtype::I32 => plain(DType::I32),
        Dtype::I64 => {
            let (wide, _) = view.data().as_chunks::<8>();
            let values = || wide.iter().map(|b| i64::from_le_bytes(*b));
            if let Some(value) = values().find(|value| i32::try_from(*value).is_err()) {
                return Err(format!("has type i64 and the value {value}, which i32 does not hold"));
            }
            Tensor::from_f64(DType::I32, view.shape(), values().map(|value| value as f64))
        }
        other => {
            let other = format!("{other:?}").to_lowercase();
            return Err(format!("has type {other}; programs have bf16, f16, f32 and i32: convert it first"));
        }
    })
}

/// Writes tensors as a safetensors file.
///
/// # Errors
/// A file that cannot be written.
pub fn write_tensors(path: &Path, tensors: &Tensors) -> Result<(), Error> {
    let wrong = |reason: String| Error::File { path: path.display().to_string(), reason };
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let dtype = match tensor.dtype {
            DType::Bf16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::F32 => Dtype::F32,
            DType::I32 => Dtype::I32,
        };
        let view = TensorView::new(dtype, tensor.shape.clone(), tensor.bytes()).map_err(|e| wrong(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize_to_file(views, None, path).map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and that many bytes of data.
    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 0xff);
        file
    }

    /// Headers that claim more than there is, products beyond 64 bits, other types: sentences, and no allocation of terabytes.
    #[test]
    fn hostile_files_are_sentences() {
        let sentence = |file: &[u8]| parse_tensors(file).expect_err("must be refused");
        for length in [u64::MAX, 1 << 62, 1 << 40, 1000] {
            let text = sentence(&length.to_le_bytes());
            assert!(text.starts_with("this is no safetensors file: "), "{text}");
        }
        let tensor = |dtype: &str, shape: &str, end: &str| {
            format!("{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[0,{end}]}}}}")
        };
        for shape in ["4294967296, 4294967296", "9223372036854775807, 4", "18446744073709551615", "1099511627776"] {
            for end in ["8", "18446744073709551615", "4398046511104"] {
                let text = sentence(&file(&tensor("F32", shape, end), 8));
                assert!(text.starts_with("this is no safetensors file: "), "{text}");
            }
        }
        let text = sentence(&file(&tensor("U8", "8", "8"), 8));
        assert_eq!(text, "`x` has type u8; programs have bf16, f16, f32 and i32: convert it first");
        // Rounding is the user's to decide.
        let text = sentence(&file(&tensor("F64", "1", "8"), 8));
        assert_eq!(text, "`x` has type f64; programs have bf16, f16, f32 and i32: convert it first");
        let mut wide = file(&tensor("I64", "1", "8"), 8);
        assert_eq!(parse_tensors(&wide).expect("minus one")["x"].to_f64(), [-1.0]);
        let at = wide.len() - 8;
        wide[at..].copy_from_slice(&(1i64 << 40).to_le_bytes());
        assert_eq!(sentence(&wide), "`x` has type i64 and the value 1099511627776, which i32 does not hold");
    }

    #[test]
    fn files_round_trip() {
        let path = std::env::temp_dir().join(format!("nsa-measure-{}.safetensors", std::process::id()));
        let numbers = [0.5, -1.0, 3.0, 1.0 / 3.0, f64::NEG_INFINITY, 7.0];
        let mut tensors = Tensors::new();
        for dtype in [DType::Bf16, DType::F16, DType::F32] {
            tensors.insert(dtype.to_string(), Tensor::from_f64(dtype, &[2, 3], numbers));
        }
        tensors.insert("i".into(), Tensor::from_f64(DType::I32, &[3], [1.0, -1.0, 70000.0]));
        tensors.insert("empty".into(), Tensor::filled(DType::F32, &[0, 3], 0));
        write_tensors(&path, &tensors).expect("written");
        let back = read_tensors(&path).expect("read");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(back.len(), tensors.len());
        for (name, tensor) in &tensors {
            assert_eq!((back[name].dtype, &back[name].shape), (tensor.dtype, &tensor.shape));
            assert_eq!(back[name].bytes(), tensor.bytes());
        }
        assert_eq!(back["bf16"].get(3), 0.333984375, "a third in eight bits");
        assert_eq!(back["i"].to_f64(), [1.0, -1.0, 70000.0]);
    }
}
