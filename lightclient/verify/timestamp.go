package verify

import "time"

// Time is a point in time as protobuf's Timestamp has it: seconds since the
// Unix epoch, which may be negative, and nanoseconds that count forward.
type Time struct {
	_       struct{} `cbor:",toarray"`
	Seconds int64
	Nanos   uint32
}

// The range that protobuf's Timestamp allows: from year 1 up to year 10000.
// CometBFT cannot encode anything else.
const (
	minSeconds = -62135596800
	endSeconds = 253402300800
)

// TimeOf returns t as a Time. The zero time.Time is year 1, not the zero Time.
func TimeOf(t time.Time) Time {
	return Time{Seconds: t.Unix(), Nanos: uint32(t.Nanosecond())}
}

// Std returns t as the standard library has it, in UTC.
func (t Time) Std() time.Time { return time.Unix(t.Seconds, int64(t.Nanos)).UTC() }

func (t Time) valid() bool {
	return t.Seconds >= minSeconds && t.Seconds < endSeconds && t.Nanos < 1e9
}

// proto returns t as a protobuf Timestamp; the epoch itself is empty.
func (t Time) proto() []byte {
	b := make([]byte, 0, 17)
	b = appendVarint(b, 1, uint64(t.Seconds))
	return appendVarint(b, 2, uint64(t.Nanos))
}
