package mls

// Bounds on everything that another party chooses. Each is checked before
// memory is allocated for, or work is spent on, the thing it bounds.
const (
	// MaxMessage bounds one encoded message. A Welcome that carries the tree of
	// MaxMembers X25519 members with 1 kB of credential each needs about 20 MB.
	MaxMessage = 32 << 20

	// MaxMembers bounds the leaves of a tree. RFC 9750 aims at tens of
	// thousands; past that, groups are split, not grown.
	MaxMembers = 1 << 14

	// MaxForward is the furthest a sender's ratchet is turned for one message,
	// about 2 ms of hashing. A header that asks for more is refused unread.
	MaxForward = 1000

	// MaxSkipped is how many keys of skipped messages are kept for one sender.
	// It equals MaxForward so that one permitted jump loses nothing.
	MaxSkipped = 1000

	// MaxPastEpochs bounds Policy.KeepEpochs: each kept epoch is one in which
	// a stolen device can still read what it had not read before.
	MaxPastEpochs = 16

	// MaxResumption bounds Policy.KeepResumption.
	MaxResumption = 1024

	// MaxPendingProposals bounds the proposals remembered within an epoch:
	// every member may send any number of them. Together they may be as large
	// as one message.
	MaxPendingProposals = 2 * MaxMembers

	// MaxAsking bounds the pending proposals of clients who ask to be added.
	// Nobody vouches for those: anyone who knows the epoch can make them.
	MaxAsking = 256

	// MaxGroupID bounds a group identifier.
	MaxGroupID = 255

	// maxKey bounds an encoded public key or KEM output; X-Wing needs 1,216 bytes.
	maxKey = 2048
	// maxSignature bounds a signature; Ed25519 needs 64 bytes.
	maxSignature = 1024
	// maxDigest bounds hashes, MACs and references; SHA-256 gives 32 bytes. The
	// room up to 64 lets messages of other suites be parsed and then refused.
	maxDigest = 64
	// maxSecret bounds a secret inside a Welcome or a path.
	maxSecret = 128
	// maxIdentity bounds one credential. Certificates are bounded by it too.
	maxIdentity = 16 << 10
	// maxList bounds the entries of a list of capabilities. Extensions are
	// bounded by it as well: they are compared pairwise.
	maxList = 256
	// maxExtension bounds the data of one extension that is not a ratchet tree.
	maxExtension = 64 << 10
	// maxProposals bounds one commit: every member replaced once.
	maxProposals = 2 * MaxMembers
	// maxReconcile bounds the pending proposals that a commit tries one by one
	// after they proved not to go together; each try costs a pass over the tree.
	maxReconcile = 256
	// maxPSKs bounds the pre-shared keys of one epoch; each costs four hashes
	// and a question to the caller's store.
	maxPSKs = 64
	// maxPSKID bounds the identifier and the nonce of a pre-shared key.
	maxPSKID = 1024
	// maxPathNodes bounds an update path: the depth of the largest tree, with
	// room for the trees of other implementations in vectors.
	maxPathNodes = 32
	// maxExport bounds the length of an exported secret: HKDF's own bound.
	maxExport = 255 * hashSize
)
