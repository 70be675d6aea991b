//! `cp.async`: copies in flight, by thread and group.

/// The number of an uncommitted copy's group.
const OPEN: u32 = u32::MAX;

/// One copy of one lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub lane: u8,
    group: u32,
    /// Shared address it will write.
    pub to: u32,
    pub bytes: u8,
    pub data: [u8; 16],
}

/// The copies of a warp; groups are counted for each lane, as the language defines them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    pending: Vec<Copy>,
    committed: [u32; 32],
}

impl Copies {
    pub fn issue(&mut self, lane: usize, to: u32, bytes: u8, data: [u8; 16]) {
        self.pending.push(Copy { lane: lane as u8, group: OPEN, to, bytes, data });
    }

    pub fn commit(&mut self, mask: u32) {
        for copy in &mut self.pending {
            if copy.group == OPEN && mask >> copy.lane & 1 != 0 {
                copy.group = self.committed[copy.lane as usize];
            }
        }
        for (lane, committed) in self.committed.iter_mut().enumerate() {
            *committed += mask >> lane & 1;
        }
    }

    /// Takes out the copies that a wait completes: all but the newest `left` groups, or everything.
    pub fn wait(&mut self, mask: u32, left: Option<u32>) -> Vec<Copy> {
        let committed = &self.committed;
        let mut done = Vec::new();
        self.pending.retain(|copy| {
            let complete = mask >> copy.lane & 1 != 0
                && match left {
                    None => true,
                    Some(left) => copy.group != OPEN && copy.group + left < committed[copy.lane as usize],
                };
            if complete {
                done.push(*copy);
            }
            !complete
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_complete_in_order_and_per_lane() {
        let mut copies = Copies::default();
        copies.issue(0, 0, 16, [0; 16]);
        copies.issue(1, 16, 16, [0; 16]);
        copies.commit(0b11);
        copies.issue(0, 32, 16, [0; 16]);
        copies.commit(0b01);
        copies.issue(0, 48, 16, [0; 16]);
        assert_eq!(copies.wait(0b11, Some(1)).iter().map(|c| c.to).collect::<Vec<_>>(), [0]);
        assert_eq!(copies.wait(0b11, Some(0)).iter().map(|c| c.to).collect::<Vec<_>>(), [16, 32]);
        assert_eq!(copies.wait(0b11, None).len(), 1);
    }
}
