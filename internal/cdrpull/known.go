package cdrpull

import "github.com/simline/simline/internal/warehouse"

// knownRows is what the warehouse holds of a range of records: for each id the
// version that counts. It is one open hash table without pointers; a map of the
// same would cost twice the memory and the garbage collector's time.
type knownRows struct {
	slots    []knownSlot
	n        int
	versions []int64          // the few versions that occur
	index    map[int64]uint32 // version → place in versions
	last     int64            // the version looked up last, and its place
	lastAt   uint32
}

type knownSlot struct {
	id   int64
	hash uint64
	// 0: free. Else place in versions + 1, shifted left, and the bits below.
	mark uint32
}

const (
	markDeleted = 1 << iota // the highest version is a tombstone
	markMany                // there was more than one version
	markOwn                 // booked by own
	markShift   = iota
)

// newKnownRows makes room for n records, in the memory of old if that will do.
func newKnownRows(n int64, old *knownRows) *knownRows {
	size := 1024
	for int64(size)*2 < n*3 {
		size *= 2
	}
	if old != nil && len(old.slots) >= size {
		clear(old.slots)
		old.n = 0
		return old
	}
	return &knownRows{slots: make([]knownSlot, size), index: map[int64]uint32{}}
}

// put books one stored version: the highest counts, and of two equal ones the
// one that is not a tombstone.
func (k *knownRows) put(s warehouse.Stored) {
	mark := (k.place(s.Version) + 1) << markShift
	if s.Deleted {
		mark |= markDeleted
	}
	slot := k.slot(s.ID)
	if slot.mark == 0 {
		*slot = knownSlot{id: s.ID, hash: s.Hash, mark: mark}
		k.n++
		return
	}
	have := k.versions[slot.mark>>markShift-1]
	if s.Version == have && s.Hash == slot.hash && slot.mark&markDeleted == mark&markDeleted {
		return // the same row once more, not merged yet
	}
	if s.Version > have || s.Version == have && slot.mark&markDeleted != 0 && !s.Deleted {
		slot.hash, slot.mark = s.Hash, mark
	}
	slot.mark |= markMany
}

// own books a row of the file that is being loaded: from now on other rows of
// that file are measured against it.
func (k *knownRows) own(id int64, hash uint64, version int64) {
	mark := (k.place(version)+1)<<markShift | markOwn
	slot := k.slot(id)
	if slot.mark == 0 {
		k.n++
	}
	*slot = knownSlot{id: id, hash: hash, mark: mark}
}

// get returns the version of id that counts, as far as one can tell here. sure
// is false if there was more than one: they may lie under different keys, of
// which a crash may have left more than one alive.
func (k *knownRows) get(id int64) (hash uint64, version int64, ok, sure bool) {
	slot := k.find(id)
	if slot.mark == 0 {
		return 0, 0, false, true
	}
	return slot.hash, k.versions[slot.mark>>markShift-1], slot.mark&markDeleted == 0, slot.mark&markMany == 0
}

// isOwn: the version of id that counts was booked by own.
func (k *knownRows) isOwn(id int64) bool { return k.find(id).mark&markOwn != 0 }

// slot is find, with room for one more.
func (k *knownRows) slot(id int64) *knownSlot {
	if k.n*4 >= len(k.slots)*3 {
		k.grow()
	}
	return k.find(id)
}

// find is the slot of id, or the free one where it belongs.
func (k *knownRows) find(id int64) *knownSlot {
	mask := uint64(len(k.slots) - 1)
	h := uint64(id) * 0x9E3779B97F4A7C15
	for i := (h ^ h>>29) & mask; ; i = (i + 1) & mask {
		if s := &k.slots[i]; s.mark == 0 || s.id == id {
			return s
		}
	}
}

func (k *knownRows) grow() {
	old := k.slots
	k.slots = make([]knownSlot, 2*len(old))
	for _, s := range old {
		if s.mark != 0 {
			*k.find(s.id) = s
		}
	}
}

func (k *knownRows) place(version int64) uint32 {
	if version == k.last && len(k.versions) > 0 {
		return k.lastAt
	}
	at, ok := k.index[version]
	if !ok {
		at = uint32(len(k.versions))
		k.versions = append(k.versions, version)
		k.index[version] = at
	}
	k.last, k.lastAt = version, at
	return at
}
