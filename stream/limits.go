package stream

import "time"

// Bounds of one stream and of one call.
const (
	// MaxBody is the most bytes a body may have: a message of people fits a
	// hundred times, and files travel as content-addressed media.
	MaxBody = 64 << 10
	// MaxPage is the most bytes of entries one page holds, unless its first
	// entry alone has more: large enough that 10,000 short messages drain in
	// some fifty pages, small enough to hold many pages in memory.
	MaxPage = 128 << 10
	// EntryCost is what an entry counts in a page beside its body: its id and
	// its share of the encoding.
	EntryCost = 24
	// MaxReaders is the most readers a stream may wait for: all devices of one
	// account, four times over.
	MaxReaders = 64
	// MaxAnnouncement is the most bytes of something that is passed on and not
	// kept: typing and presence are far below it.
	MaxAnnouncement = 4 << 10
)

// Remember is how long at least an appended MessageID is known, in the store's
// time, whether or not its entry was trimmed meanwhile: a writer that never saw
// the answer may retry within it without adding a second entry. It is as long
// as messages wait by default.
const Remember = 30 * 24 * time.Hour
