package store

// Bounds of what is kept. They stop a mistake or a hostile peer from growing one
// thing without end; a disk's end is noticed by itself.
const (
	// MaxContacts bounds contacts, blocked ones and open requests included: a
	// request costs its sender work, and thousands are more than anybody reads.
	MaxContacts = 50_000
	// MaxConversations bounds conversations likewise.
	MaxConversations = 50_000
	// MaxItem bounds one item of the outbox: what a concierge takes, 64 KiB.
	MaxItem = 64 << 10
	// MaxOutbox bounds the items that wait, refused ones included: 6 GB at worst,
	// some 50 MB in life.
	MaxOutbox = 100_000
	// MaxOutboxEach bounds the items for one destination, so that one which never
	// answers does not use up the others' room.
	MaxOutboxEach = 10_000
	// MaxDestination bounds a destination's name: an address with its key.
	MaxDestination = 512
	// MaxSource bounds the name of an inbox.
	MaxSource = 512
	// MaxNote bounds a small value of the agent's own (see Tx.Put).
	MaxNote = 64 << 10
	// MaxName bounds names that people give to contacts and conversations, and
	// those of notes.
	MaxName = 256
	// MaxPage bounds the rows that one call returns.
	MaxPage = 1000
	// MaxQuery bounds what is searched for.
	MaxQuery = 512
	// maxWords bounds its words: each is a walk through the index.
	maxWords = 16
	// maxLine bounds a line of an export: an event of 48 KiB in hexadecimal with
	// its names around it.
	maxLine = 128 << 10
	// maxPath bounds where a file was saved: what the common systems allow.
	maxPath = 4096
)

// KeySize is the size of the database's key.
const KeySize = 32
