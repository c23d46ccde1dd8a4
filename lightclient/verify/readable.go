package verify

import "time"

// Readable implements wire.Readable: the set as a list with addresses.
func (v Validators) Readable() any {
	type validator struct {
		Address [20]byte
		Key     [33]byte
		Power   uint64
	}
	out := make([]validator, v.Len())
	for i := range out {
		m := v.At(i)
		out[i] = validator{v.Address(i), m.Key, m.Power}
	}
	return out
}

// Readable implements wire.Readable: RFC 3339 with nanoseconds.
func (t Time) Readable() any { return t.Std().Format(time.RFC3339Nano) }
