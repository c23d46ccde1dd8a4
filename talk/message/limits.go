package message

// Bounds of one event. They are part of the format: an event beyond them is
// refused by everybody.
const (
	// MaxEvent bounds an event's encoding. Padded it has at most 51,200 bytes,
	// which with what MLS adds fits the 64 KiB that a concierge takes.
	MaxEvent = 48 << 10
	// MaxText bounds a text in bytes: about five printed pages. Longer ones are
	// files.
	MaxText = 16 << 10
	// MaxThumbnail bounds the picture that travels inside a file's event.
	MaxThumbnail = 16 << 10
	// MaxLine bounds what is shown on one line among our own words: names of
	// people. Handles have 20 characters; names of people seldom 60.
	MaxLine = 128
	// MaxFileName is what common file systems take.
	MaxFileName = 255
	// MaxAbout bounds what people say of themselves, and a greeting to a stranger.
	MaxAbout = 1 << 10
	// MaxMediaType bounds a media type; RFC 6838 allows 127 for each half, real
	// ones stay below 80.
	MaxMediaType = 127
	// MaxEmoji bounds a reaction in bytes. The longest standard sequences
	// (families with skin tones) have 41.
	MaxEmoji = 64
	// MaxReach bounds the opaque bytes that say where an answer is to go: a
	// queue's address and its key take some 200.
	MaxReach = 1 << 10
	// MaxReceipts bounds the devices that one receipt speaks of: those of a large
	// room come in several.
	MaxReceipts = 256
	// MaxRanges bounds the gaps that one request names; the next asks for more.
	MaxRanges = 64
	// MaxResend bounds the events that one range asks for, so that a small request
	// cannot make its answerer send without end.
	MaxResend = 4096
	// MaxTyping is how long "is typing" may be believed, in seconds: a sign that is
	// older was left behind by a crash.
	MaxTyping = 30
	// maxFile is the largest file of version 1: 1 TiB, which keeps sizes exact in
	// every language's numbers.
	maxFile = 1 << 40
	// maxTime is the first millisecond of the year 10000, which no calendar of
	// four digits can show.
	maxTime = 253_402_300_800_000
)

// Bounds of an event's clock.
const (
	// MaxClockStep is how far a clock may rise from one event of a chain to its
	// next: more than any conversation has events, and still so little that nobody
	// can use it up for others.
	MaxClockStep = 1 << 24
	// maxFirstClock bounds the clock of a chain's first event, whose device may
	// join an old conversation.
	maxFirstClock = 1 << 48
	// maxClock keeps clocks exact in languages whose numbers are doubles.
	maxClock = 1<<53 - 1
	// maxSeq does the same for sequence numbers.
	maxSeq = 1<<53 - 1
)

// Bounds of what a reader keeps for one author.
const (
	// MaxWaiting is how many events a chain keeps that wait for earlier ones. With
	// 112 bytes each a hostile author costs 112 KiB.
	MaxWaiting = 1024
	// MaxAhead is how far beyond the last event in order one may be: beyond it
	// something is wrong that asking again will not mend.
	MaxAhead = 1 << 20
	// maxLosses is how many given-up gaps a chain remembers; then the oldest is
	// closed for good.
	maxLosses = 64
	// recentIDs is how many ids before the head a chain remembers to tell a
	// repetition from a second history. Older ones are in the caller's store.
	recentIDs = 64
	// MaxReactions is how many reactions of one person to one event are shown.
	MaxReactions = 16
)
