package ratchet

// Bounds of what a folder holds.
const (
	// MaxName bounds the name of a shelf: a conversation's id has 32 bytes.
	MaxName = 64
	// MaxKey bounds the key of a value.
	MaxKey = 128
	// MaxShelf bounds the values of one shelf together, in bytes: the secrets of a
	// group of 512 devices under X-Wing have about 1.5 MB. It is also what one
	// write of one message costs there.
	MaxShelf = 4 << 20
	// MaxShelves bounds the conversations of a device; the table then has 1 MB.
	MaxShelves = 10_000
	// MaxValues bounds the values of one shelf: a table of skipped message keys
	// has at most some thousands.
	MaxValues = 16_000
	// maxTable is the size of a table of MaxShelves entries, each of at most 124
	// bytes.
	maxTable = MaxShelves*124 + 64
)
