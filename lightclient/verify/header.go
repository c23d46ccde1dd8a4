package verify

// blockVersion is the version of CometBFT's block format that v0.40.0 speaks.
const blockVersion = 11

// Header is CometBFT's block header. A hash that is all zeros stands for an
// empty one, which CometBFT allows where there is nothing to hash (the last
// block of the first block, say); AppHash alone is always 32 bytes, whatever
// their value.
type Header struct {
	_ struct{} `cbor:",toarray"`

	BlockVersion uint64 // the block format: 11
	AppVersion   uint64 // the rule set
	ChainID      string
	Height       uint64 // from 1
	Time         Time   // the median of the last commit's votes
	LastBlock    BlockID

	LastCommitHash     [32]byte // the votes for the last block
	DataHash           [32]byte // the transactions
	ValidatorsHash     [32]byte // who signs this block
	NextValidatorsHash [32]byte // who signs the next
	ConsensusHash      [32]byte // the consensus parameters
	AppHash            [32]byte // the state after the last block
	LastResultsHash    [32]byte // the results of the last block
	EvidenceHash       [32]byte // misbehaviour shown in this block
	Proposer           [20]byte // the address of the validator who made it
}

// BlockID names a block: the hash of its header and the parts it travels in.
type BlockID struct {
	_     struct{} `cbor:",toarray"`
	Hash  [32]byte
	Parts Parts
}

// Parts is what CometBFT calls a part set header: into how many parts a block
// was cut to be gossiped, and the root over them. It proves nothing to a light
// client, but validators sign it.
type Parts struct {
	_     struct{} `cbor:",toarray"`
	Total uint32
	Hash  [32]byte
}

// Hash returns the header's hash, which is the block's: the Merkle root over
// the header's fields. It is meaningful for a header that passes [Head.Check].
func (h Header) Hash() [32]byte {
	version := appendVarint(appendVarint(nil, 1, h.BlockVersion), 2, h.AppVersion)
	return merkleRoot([][32]byte{
		leafHash(version),
		leafHash(appendBytes(nil, 1, h.ChainID)),
		leafHash(appendVarint(nil, 1, h.Height)),
		leafHash(h.Time.proto()),
		leafHash(h.LastBlock.proto()),
		hashLeaf(h.LastCommitHash),
		hashLeaf(h.DataHash),
		hashLeaf(h.ValidatorsHash),
		hashLeaf(h.NextValidatorsHash),
		hashLeaf(h.ConsensusHash),
		leafHash(appendMessage(nil, 1, h.AppHash[:])),
		hashLeaf(h.LastResultsHash),
		hashLeaf(h.EvidenceHash),
		leafHash(appendMessage(nil, 1, h.Proposer[:])),
	})
}

func hashLeaf(hash [32]byte) [32]byte {
	var b [34]byte
	return leafHash(appendHash(b[:0], 1, hash))
}

// check is what of CometBFT's Header.ValidateBasic the types do not already
// say, and that the header can be hashed at all.
func (h Header) check() error {
	switch {
	case h.BlockVersion != blockVersion:
		return invalid("block version is %d, only %d is known", h.BlockVersion, blockVersion)
	case len(h.ChainID) > MaxChainID:
		return invalid("chain id has %d bytes, at most %d are allowed", len(h.ChainID), MaxChainID)
	case h.Height == 0 || h.Height > maxHeight:
		return invalid("height %d is out of range", h.Height)
	case !h.Time.valid():
		return invalid("time %d.%09d is out of range", h.Time.Seconds, h.Time.Nanos)
	}
	return nil
}

// proto returns the block id as protobuf, the same for CometBFT's BlockID and
// CanonicalBlockID.
func (id BlockID) proto() []byte {
	b := make([]byte, 0, 76)
	b = appendHash(b, 1, id.Hash)
	return appendMessage(b, 2, id.Parts.proto())
}

func (p Parts) proto() []byte {
	b := make([]byte, 0, 40)
	b = appendVarint(b, 1, uint64(p.Total))
	return appendHash(b, 2, p.Hash)
}

// Head is a header and the commit that proves it: what a light client follows.
type Head struct {
	_      struct{} `cbor:",toarray"`
	Header Header
	Commit Commit
}

// Block returns the id of the block that the commit is for.
func (h Head) Block() BlockID {
	return BlockID{Hash: h.Header.Hash(), Parts: h.Commit.Parts}
}

// Trim returns the head with its commit cut as [Commit.Trim] does.
func (h Head) Trim(v Validators) Head {
	h.Commit = h.Commit.Trim(v)
	return h
}
