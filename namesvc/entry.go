package namesvc

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// Entry is what the chain says about an account: the value of its leaf. Version
// 1 has every field from the first day, empty where no rule fills it yet,
// because decoding is strict and a missing field would break every reader.
//
// What an entry means depends on the time at which it is read; see [Entry.At].
type Entry struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1

	// Identity.
	Account    AccountID
	Kind       Kind
	Generation uint32 // continuity: rises when control passes other than by the owner's own keys

	// Position: every op names the next Seq and the last op's hash.
	Seq    uint64
	LastOp [32]byte
	OpLog  [][32]byte // peaks of the mountain range over the account's ops, see [OpLog]

	// Control.
	Roots     []key.Public // strongest first
	NextRoot  []byte       // hash of the root 0 to come, or empty
	Guardians []byte       // empty in rule set 1

	// Names: the primary handle first, then up to two aliases.
	Handles []Lease

	// Devices: a hash of the account's devices leaf, and a number that rises
	// only when devices change.
	DevicesRoot [32]byte
	DeviceSeq   uint64

	// Records: what the account says about itself.
	Records Records

	// Flags is 0 in rule set 1.
	Flags uint32

	// Times in seconds since 1970, from block headers.
	Registered uint64 // first op on the chain
	LastActive uint64 // last op
	Expires    uint64 // handles are dormant from here on
	Lapses     uint64 // handles are retired from here on

	// Quota is the time at which the account's op budget is full again.
	Quota uint64

	// Pending is a change that waits for its undo window, nil if none.
	Pending *Pending
}

// Lease names one handle that an account holds, with the generation of that
// lease: who re-registers a retired handle gets the next generation.
type Lease struct {
	_          struct{} `cbor:",toarray"`
	Handle     Handle
	Generation uint32
}

// Pending is a change signed by a lower root, which a higher one may cancel
// until it takes effect. It is part of every proof, so that everyone sees the
// contest.
type Pending struct {
	_         struct{} `cbor:",toarray"`
	Kind      OpKind   // Release in rule set 1
	Op        [32]byte // id of the op
	Rank      uint8    // index of the root that signed it
	Effective uint64   // seconds since 1970
	Handle    Handle   // the handle to be released
}

// Bounds of an entry's parts.
const (
	// MaxRoots: phone, hardware key, paper, and two to spare.
	MaxRoots = 5
	// MaxHandles: one primary and two aliases; more would be a way to squat.
	MaxHandles = 3
	// MaxEntry bounds an entry's encoding in bytes. The largest legal entry
	// has 3,300, most of it a service's addresses, and 34 more for each peak
	// of its op log: 5,400 with all 64. An entry that could outgrow the bound
	// would stop the chain, so the bound leaves room for that.
	MaxEntry = 6144
)

// Encode returns the entry's leaf value.
func (e Entry) Encode() []byte { return wire.Encode(e) }

// DecodeEntry parses a leaf value. It checks form and bounds; that the entry is
// true is what a proof shows.
func DecodeEntry(b []byte) (Entry, error) {
	var e Entry
	if err := wire.Decode(b, &e, MaxEntry); err != nil {
		return Entry{}, fmt.Errorf("entry: %w", err)
	}
	if err := e.check(); err != nil {
		return Entry{}, fmt.Errorf("entry: %w", err)
	}
	return e, nil
}

func (e Entry) check() error {
	switch {
	case e.Version != 1:
		return fmt.Errorf("version %d is unknown", e.Version)
	case e.Kind < Person || e.Kind > Service:
		return fmt.Errorf("%v is unknown", e.Kind)
	case e.Seq == 0 || e.Generation == 0:
		return fmt.Errorf("sequence and generation begin at 1")
	case len(e.OpLog) != peakCount(e.Seq):
		return fmt.Errorf("the op log has %d peaks, %d ops make %d", len(e.OpLog), e.Seq, peakCount(e.Seq))
	case !hashOrEmpty(e.NextRoot) || len(e.Guardians) != 0 || e.Flags != 0:
		return fmt.Errorf("a control field is malformed")
	case len(e.Handles) > MaxHandles:
		return fmt.Errorf("more than %d handles", MaxHandles)
	}
	for _, l := range e.Handles {
		if !l.Handle.valid() || l.Generation == 0 {
			return fmt.Errorf("a handle is malformed")
		}
	}
	if p := e.Pending; p != nil && (p.Kind != OpRelease || !p.Handle.valid()) {
		return fmt.Errorf("the pending change is malformed")
	}
	if err := checkRoots(e.Roots, e.NextRoot); err != nil {
		return err
	}
	return e.Records.check(e.Kind)
}

// At returns the entry as it is to be understood at time now (seconds): a
// pending change whose window has passed is applied, and an account that has
// lapsed holds no handle, since others may hold them by then. Nothing on the
// chain happens by itself; this is how time acts on an entry.
func (e Entry) At(now uint64) Entry {
	if e.Pending != nil && now >= e.Pending.Effective {
		e.Handles = without(e.Handles, e.Pending.Handle)
		e.Pending = nil
	}
	if now >= e.Lapses {
		e.Handles = nil
	}
	return e
}

// Holds returns the lease of h and whether the entry has one.
func (e Entry) Holds(h Handle) (Lease, bool) {
	for _, l := range e.Handles {
		if l.Handle == h {
			return l, true
		}
	}
	return Lease{}, false
}

// Primary returns the account's first handle, or "" if it has none.
func (e Entry) Primary() Handle {
	if len(e.Handles) == 0 {
		return ""
	}
	return e.Handles[0].Handle
}

func without(leases []Lease, h Handle) []Lease {
	var rest []Lease
	for _, l := range leases {
		if l.Handle != h {
			rest = append(rest, l)
		}
	}
	return rest
}
