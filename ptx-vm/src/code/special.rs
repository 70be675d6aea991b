//! Special registers.

/// A special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    ClusterId(u8),
    NclusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterRank,
    ClusterSize,
    IsExplicitCluster,
    Lane,
    Warp,
    Nwarp,
    Sm,
    Nsm,
    Grid,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    Clock,
    GlobalTimer,
    DynamicShared,
    TotalShared,
    /// The address of a shared variable: its offset, with the block's rank in the cluster above.
    SharedAt(u32),
    /// The address of byte `1` of module variable `0` in global memory.
    VariableAt(u32, u32),
}

impl Special {
    pub fn parse(name: &str) -> Option<Self> {
        let (base, axis) = match name.rsplit_once('.') {
            Some((base, "x")) => (base, Some(0)),
            Some((base, "y")) => (base, Some(1)),
            Some((base, "z")) => (base, Some(2)),
            Some(_) => return None,
            None => (name, None),
        };
        Some(match (base, axis) {
            ("%tid", Some(a)) => Self::Tid(a),
            ("%ntid", Some(a)) => Self::Ntid(a),
            ("%ctaid", Some(a)) => Self::Ctaid(a),
            ("%nctaid", Some(a)) => Self::Nctaid(a),
            ("%clusterid", Some(a)) => Self::ClusterId(a),
            ("%nclusterid", Some(a)) => Self::NclusterId(a),
            ("%cluster_ctaid", Some(a)) => Self::ClusterCtaid(a),
            ("%cluster_nctaid", Some(a)) => Self::ClusterNctaid(a),
            ("%cluster_ctarank", None) => Self::ClusterRank,
            ("%cluster_nctarank", None) => Self::ClusterSize,
            ("%is_explicit_cluster", None) => Self::IsExplicitCluster,
            ("%laneid", None) => Self::Lane,
            ("%warpid", None) => Self::Warp,
            ("%nwarpid", None) => Self::Nwarp,
            ("%smid", None) => Self::Sm,
            ("%nsmid", None) => Self::Nsm,
            ("%gridid", None) => Self::Grid,
            ("%lanemask_eq", None) => Self::LaneMaskEq,
            ("%lanemask_lt", None) => Self::LaneMaskLt,
            ("%lanemask_le", None) => Self::LaneMaskLe,
            ("%lanemask_gt", None) => Self::LaneMaskGt,
            ("%lanemask_ge", None) => Self::LaneMaskGe,
            ("%clock" | "%clock64" | "%clock_hi", None) => Self::Clock,
            ("%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi", None) => Self::GlobalTimer,
            ("%dynamic_smem_size", None) => Self::DynamicShared,
            ("%total_smem_size", None) => Self::TotalShared,
            _ => return None,
        })
    }
}
