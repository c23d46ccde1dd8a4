package verify

import "math"

// Bounds of everything that can come from a stranger.
const (
	// MaxValidators is the most validators a set may have: the anchor contract
	// keeps who signed as the bits of one 256-bit word.
	MaxValidators = 256

	// MaxTotalPower is CometBFT's own bound on the power of a whole set. It
	// leaves room to multiply by two or three in 64 bits.
	MaxTotalPower = math.MaxInt64 / 8

	// MaxChainID is CometBFT's own bound on a chain id, in bytes.
	MaxChainID = 50

	// maxHeight and maxRound are the largest that CometBFT can count to.
	maxHeight = math.MaxInt64
	maxRound  = math.MaxInt32
)

// Sizes in bytes that no honest encoding exceeds, to be given to wire.Decode.
const (
	// MaxHeaderSize: eight hashes, a block id, a full chain id make 463.
	MaxHeaderSize = 512
	// MaxCommitSize: 256 votes of 75 (kind, time, signature) and a part set.
	MaxCommitSize = 19 << 10
	// MaxHeadSize: a header and a commit.
	MaxHeadSize = MaxHeaderSize + MaxCommitSize + 8
	// MaxValidatorsSize: 256 validators of 45 (key and power).
	MaxValidatorsSize = 12 << 10
	// MaxTrustSize: a validator set, two hashes and a full chain id.
	MaxTrustSize = MaxValidatorsSize + 192
	// MaxPinSize: a hash, a height and a full chain id.
	MaxPinSize = 128
	// MaxCheckpointSize: four numbers and six hashes make 241.
	MaxCheckpointSize = 256
	// MaxSealsSize: 256 seals of 66 (present or not, signature).
	MaxSealsSize = 17 << 10
	// MaxHistorySize: a size and at most 63 peaks of 34.
	MaxHistorySize = 2200
)
