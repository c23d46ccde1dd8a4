package namesvc

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Params are a chain's numbers, fixed at its genesis and read from the state
// like everything else.
type Params struct {
	_       struct{} `cbor:",toarray" json:"-"`
	Version uint8    `json:"version"` // 1
	Chain   string   `json:"chain"`   // chain id, 1 to 50 of a-z, 0-9 and -

	// Registration.
	MinHandle    uint8  `json:"min_handle"`    // shortest handle that work registers, 3 to 20
	MinSponsored uint8  `json:"min_sponsored"` // shortest handle that a sponsor's ticket registers, 3 to MinHandle
	WorkBits     uint8  `json:"work_bits"`     // leading zero bits of memory-hard work, 0 to 40
	WorkKiB      uint32 `json:"work_kib"`      // memory of one try, 8 to 65536
	Daily        uint32 `json:"daily"`         // commits by work a day before WorkBits rises by one, again per multiple
	// SponsorDaily is how many commits a day every sponsor may pay for without
	// a vote, 0 to MaxSponsorDaily. It is 0 where strangers are: accounts of
	// services cost a little work each, so whoever makes many of them would
	// have names, and short ones, for free.
	SponsorDaily uint32 `json:"sponsor_daily"`
	Reveal       uint64 `json:"reveal"` // blocks within which a commit must be revealed

	// Ops.
	MaxExpiry  uint64 `json:"max_expiry"`  // blocks by which an op's expiry may lie ahead
	QuotaBurst uint32 `json:"quota_burst"` // ops an account may sign at once
	QuotaEvery uint64 `json:"quota_every"` // seconds until one more is allowed

	// Durations in seconds.
	Probation   uint64 `json:"probation"`   // first lease, until a device and a concierge are bound
	Liveness    uint64 `json:"liveness"`    // lease of a young account
	Established uint64 `json:"established"` // age from which an account is no longer young
	LeaseTime   uint64 `json:"lease"`       // lease of an established account
	Dormant     uint64 `json:"dormant"`     // between expiry and retirement
	Quarantine  uint64 `json:"quarantine"`  // between retirement and the next registration
	Undo        uint64 `json:"undo"`        // window in which a higher root may cancel
	MaxDevice   uint64 `json:"max_device"`  // longest life of a device key

	// Checkpoints and block lanes.
	Checkpoint uint64 `json:"checkpoint"` // blocks between checkpoints
	Lanes      Lanes  `json:"lanes"`
}

// Lanes says how many ops of each sort one block may carry. Renewals and
// updates have their own lanes, so they never wait behind registrations.
type Lanes struct {
	_             struct{} `cbor:",toarray" json:"-"`
	Renewals      uint32   `json:"renewals"`
	Updates       uint32   `json:"updates"`
	Commits       uint32   `json:"commits"` // each costs every validator one try of the work, or a hundredth of it
	Registrations uint32   `json:"registrations"`
}

const (
	second uint64 = 1
	minute        = 60 * second
	hour          = 60 * minute
	day           = 24 * hour
)

// DefaultParams are the numbers of a public network at one block a second.
// Their reasons are in SPEC-names §9.
func DefaultParams(chain string) Params {
	return Params{
		Version:   1,
		Chain:     chain,
		MinHandle: 8, MinSponsored: 5, WorkBits: 13, WorkKiB: 4096, Daily: 2000, SponsorDaily: 0, Reveal: 600,
		MaxExpiry: 3600, QuotaBurst: 30, QuotaEvery: 48 * minute,
		Probation: 14 * day, Liveness: 30 * day, Established: 90 * day, LeaseTime: 730 * day,
		Dormant: 90 * day, Quarantine: 365 * day, Undo: 72 * hour, MaxDevice: 400 * day,
		Checkpoint: 21600,
		Lanes:      Lanes{Renewals: 600, Updates: 600, Commits: 20, Registrations: 100},
	}
}

// DevParams are the numbers of a network on one's own machine: short handles,
// little work, sponsors without a vote, room to try things.
func DevParams(chain string) Params {
	p := DefaultParams(chain)
	p.MinHandle, p.MinSponsored, p.WorkBits, p.SponsorDaily = MinHandle, MinHandle, 4, 1000
	p.QuotaBurst, p.QuotaEvery = 1000, second
	p.Checkpoint = 20
	return p
}

// maxParams bounds the encoding in bytes.
const maxParams = 512

// Encode returns the leaf value.
func (p Params) Encode() []byte { return wire.Encode(p) }

// DecodeParams parses and checks parameters.
func DecodeParams(b []byte) (Params, error) {
	var p Params
	if err := wire.Decode(b, &p, maxParams); err != nil {
		return Params{}, fmt.Errorf("parameters: %w", err)
	}
	return p, p.Check()
}

// Check reports the first parameter that is out of its range.
func (p Params) Check() error {
	if p.Version != 1 {
		return fmt.Errorf("parameters: version %d is unknown", p.Version)
	}
	if err := CheckChain(p.Chain); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	const years = 100 * 365 * day // no sum of two durations and a time overflows
	for _, b := range []struct {
		name      string
		v, lo, hi uint64
	}{
		{"min_handle", uint64(p.MinHandle), MinHandle, MaxHandle},
		{"min_sponsored", uint64(p.MinSponsored), MinHandle, uint64(p.MinHandle)},
		{"work_bits", uint64(p.WorkBits), 0, 40},
		{"work_kib", uint64(p.WorkKiB), 8, 65536},
		{"daily", uint64(p.Daily), 1, 1 << 30},
		{"sponsor_daily", uint64(p.SponsorDaily), 0, MaxSponsorDaily},
		{"reveal", p.Reveal, 2, 1 << 20},
		{"max_expiry", p.MaxExpiry, 2, 1 << 20},
		{"quota_burst", uint64(p.QuotaBurst), 1 + quotaReserve, 1 << 20},
		{"quota_every", p.QuotaEvery, 0, day},
		{"probation", p.Probation, 1, years},
		{"liveness", p.Liveness, 1, years},
		{"established", p.Established, 0, years},
		{"lease", p.LeaseTime, 1, years},
		{"dormant", p.Dormant, 0, years},
		{"quarantine", p.Quarantine, 0, years},
		{"undo", p.Undo, 0, years},
		{"max_device", p.MaxDevice, 1, years},
		{"checkpoint", p.Checkpoint, 2, 1 << 20},
		{"lanes.renewals", uint64(p.Lanes.Renewals), 1, 1 << 20},
		{"lanes.updates", uint64(p.Lanes.Updates), 1, 1 << 20},
		{"lanes.commits", uint64(p.Lanes.Commits), 1, 1 << 20},
		{"lanes.registrations", uint64(p.Lanes.Registrations), 1, 1 << 20},
	} {
		if b.v < b.lo || b.v > b.hi {
			return fmt.Errorf("parameters: %s is %d, it must be from %d to %d", b.name, b.v, b.lo, b.hi)
		}
	}
	return nil
}

// CheckChain checks the form of a chain id: 1 to 50 of a-z, 0-9 and -, which is
// within what CometBFT allows.
func CheckChain(chain string) error {
	if len(chain) == 0 || len(chain) > 50 {
		return fmt.Errorf("chain id %.60q must have 1 to 50 characters", chain)
	}
	for i := 0; i < len(chain); i++ {
		if c := chain[i]; !isLetter(c) && !isDigit(c) && c != '-' {
			return fmt.Errorf("chain id %q may only contain a to z, 0 to 9 and -", chain)
		}
	}
	return nil
}
