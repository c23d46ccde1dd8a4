package verify

import "encoding/binary"

// Checkpoint is what validators seal for Ethereum and for witnesses: a summary
// of the chain up to a height. All fields are there from the first one on, even
// before a contract reads them.
type Checkpoint struct {
	_ struct{} `cbor:",toarray"`

	Number      uint64   // counts checkpoints
	Height      uint64   // the block summed up
	Time        uint64   // its time, in seconds since the Unix epoch, rounded down
	BlockHash   [32]byte // its header's hash
	AppHash     [32]byte // the state after it, as in the next header
	HistoryRoot [32]byte // over the hashes of all blocks up to it: see History
	Signers     [32]byte // HashSigners of who seals this checkpoint
	NextSigners [32]byte // HashSigners of who seals the next
	InboxCount  uint64   // how much of the Ethereum inbox is consumed
	InboxHash   [32]byte // its rolling hash up to there
}

// The strings whose Keccak-256 hashes separate these digests from all others.
// Frozen: contracts hold them.
const (
	checkpointDomain = "confab/checkpoint/1\n"
	chainTagDomain   = "confab/chain/1\n"
)

// ChainTag returns what stands for a chain in checkpoint digests: in Solidity,
// keccak256(abi.encodePacked("confab/chain/1\n", chainID)). A chain that is
// restarted from an earlier state needs a new chain id, and so gets a new tag.
func ChainTag(chainID string) [32]byte {
	return keccak256([]byte(chainTagDomain), []byte(chainID))
}

// Digest returns the hash that is sealed: in Solidity,
// keccak256(abi.encode(DOMAIN, chainTag, checkpoint)), where DOMAIN is
// keccak256("confab/checkpoint/1\n") and checkpoint a struct of these fields in
// this order, numbers as uint64. It has no dynamic part, so each field is one
// 32-byte word, numbers padded on the left.
func (c Checkpoint) Digest(chainTag [32]byte) [32]byte {
	domain := keccak256([]byte(checkpointDomain))
	b := make([]byte, 0, 12*32)
	b = append(b, domain[:]...)
	b = append(b, chainTag[:]...)
	b = appendWord(b, c.Number)
	b = appendWord(b, c.Height)
	b = appendWord(b, c.Time)
	b = append(b, c.BlockHash[:]...)
	b = append(b, c.AppHash[:]...)
	b = append(b, c.HistoryRoot[:]...)
	b = append(b, c.Signers[:]...)
	b = append(b, c.NextSigners[:]...)
	b = appendWord(b, c.InboxCount)
	b = append(b, c.InboxHash[:]...)
	return keccak256(b)
}

func appendWord(b []byte, v uint64) []byte {
	b = append(b, make([]byte, 24)...)
	return binary.BigEndian.AppendUint64(b, v)
}

// HashSigners returns the hash by which a contract knows a validator set: the
// Keccak-256 of one 32-byte word for each validator, its power as uint96 before
// its address, in the set's order. Unlike [Validators.Hash] it needs no key, so
// a contract can compute it from what ecrecover returns.
func HashSigners(v Validators) [32]byte {
	b := make([]byte, 0, 32*v.Len())
	for i := range v.members {
		b = append(b, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint64(b, v.members[i].Power)
		b = append(b, v.members[i].address[:]...)
	}
	return keccak256(b)
}
