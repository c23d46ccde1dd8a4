//go:build !js

package verify_test

import (
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/types"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// A mutation changes one thing about a scenario. It may be applied bare, which
// leaves signatures and hashes as they were, or with everything sealed again,
// as validators who want the change would.
type mutation struct {
	name string
	do   func(c *scenario)
}

func (c *scenario) mutate() {
	c.apply(mutations[c.rnd.IntN(len(mutations))], c.rnd.IntN(2) == 0)
}

// apply works on copies, so that scenarios may share sets and headers.
func (c *scenario) apply(m mutation, sealed bool) {
	commit, header, trusted := *c.head.Commit, *c.head.Header, *c.trusted.Header
	commit.Signatures = slices.Clone(commit.Signatures)
	for i := range commit.Signatures {
		commit.Signatures[i].Signature = slices.Clone(commit.Signatures[i].Signature)
	}
	c.head = &types.SignedHeader{Header: &header, Commit: &commit}
	c.trusted = &types.SignedHeader{Header: &trusted}
	c.vals = c.vals.Copy()
	m.do(c)
	c.validators(func(list []*types.Validator) []*types.Validator { return list }) // forget cached sums
	c.story = append(c.story, m.name)
	if sealed {
		c.story = append(c.story, "sealed")
		c.seal()
	}
}

// vote returns a random vote that is not absent, or a spare one.
func (c *scenario) vote() *types.CommitSig {
	list := c.head.Commit.Signatures
	for range 20 {
		if len(list) == 0 {
			break
		}
		if s := &list[c.rnd.IntN(len(list))]; len(s.Signature) > 0 {
			return s
		}
	}
	return &types.CommitSig{BlockIDFlag: types.BlockIDFlagCommit, Signature: make([]byte, 65)}
}

// two returns the indexes of two votes, which may be the same.
func (c *scenario) two() (list []types.CommitSig, i, j int) {
	list = c.head.Commit.Signatures
	if len(list) == 0 {
		list = make([]types.CommitSig, 1)
	}
	return list, c.rnd.IntN(len(list)), c.rnd.IntN(len(list))
}

// validators replaces the set by what edit makes of its list, which may be
// something that CometBFT would not build but would take from the wire.
func (c *scenario) validators(edit func(list []*types.Validator) []*types.Validator) {
	c.vals = &types.ValidatorSet{Validators: edit(c.vals.Validators)}
	if len(c.vals.Validators) > 0 {
		c.vals.Proposer = c.vals.Validators[0]
	}
}

func (c *scenario) member() *types.Validator {
	if len(c.vals.Validators) == 0 {
		return &types.Validator{Address: people[0].address, PubKey: people[0].pub, VotingPower: 1}
	}
	return c.vals.Validators[c.rnd.IntN(len(c.vals.Validators))]
}

func flip(c *scenario, b []byte) []byte {
	b = slices.Clone(b)
	if len(b) > 0 {
		b[c.rnd.IntN(len(b))] ^= 1 << c.rnd.IntN(8)
	}
	return b
}

// hashFields are the header's fields of bytes.
var hashFields = map[string]func(h *types.Header) *[]byte{
	"last block hash":  func(h *types.Header) *[]byte { return (*[]byte)(&h.LastBlockID.Hash) },
	"last parts hash":  func(h *types.Header) *[]byte { return (*[]byte)(&h.LastBlockID.PartSetHeader.Hash) },
	"last commit hash": func(h *types.Header) *[]byte { return (*[]byte)(&h.LastCommitHash) },
	"data hash":        func(h *types.Header) *[]byte { return (*[]byte)(&h.DataHash) },
	"validators hash":  func(h *types.Header) *[]byte { return (*[]byte)(&h.ValidatorsHash) },
	"next hash":        func(h *types.Header) *[]byte { return (*[]byte)(&h.NextValidatorsHash) },
	"consensus hash":   func(h *types.Header) *[]byte { return (*[]byte)(&h.ConsensusHash) },
	"app hash":         func(h *types.Header) *[]byte { return (*[]byte)(&h.AppHash) },
	"results hash":     func(h *types.Header) *[]byte { return (*[]byte)(&h.LastResultsHash) },
	"evidence hash":    func(h *types.Header) *[]byte { return (*[]byte)(&h.EvidenceHash) },
	"proposer":         func(h *types.Header) *[]byte { return (*[]byte)(&h.ProposerAddress) },
}

// mutations holds all of them, in an order that does not change.
var mutations = func() []mutation {
	list := slices.Concat(headerMutations, timeMutations, commitMutations, voteMutations, setMutations)
	names := make([]string, 0, len(hashFields))
	for name := range hashFields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field := hashFields[name]
		list = append(list,
			mutation{name + " flipped", func(c *scenario) { f := field(c.head.Header); *f = flip(c, *f) }},
			mutation{name + " empty", func(c *scenario) { *field(c.head.Header) = nil }},
			mutation{name + " short", func(c *scenario) { *field(c.head.Header) = c.hash()[:19] }},
			mutation{name + " zeros", func(c *scenario) { *field(c.head.Header) = make([]byte, 32) }})
	}
	return list
}()

var headerMutations = []mutation{
	{"nothing", func(c *scenario) {}},
	{"block version", func(c *scenario) { c.head.Version.Block = c.rnd.Uint64N(13) }},
	{"app version", func(c *scenario) { c.head.Version.App = c.rnd.Uint64() }},
	{"chain id", func(c *scenario) { c.head.ChainID += "x" }},
	{"chain id of both", func(c *scenario) {
		id := strings.Repeat("é", c.rnd.IntN(28)) // up to 54 bytes
		c.head.ChainID, c.trusted.ChainID = id, id
	}},
	{"chain id empty", func(c *scenario) { c.head.ChainID = "" }},
	{"height", func(c *scenario) { c.head.Height += c.rnd.Int64N(5) - 2 }},
	{"height zero", func(c *scenario) { c.head.Height = 0 }},
	{"height negative", func(c *scenario) { c.head.Height = -c.head.Height }},
	{"height of the trusted", func(c *scenario) { c.head.Height = c.trusted.Height }},
	{"height next", func(c *scenario) { c.head.Height = c.trusted.Height + 1 }},
	{"height of all commits", func(c *scenario) { c.head.Height++; c.head.Commit.Height++ }},
	{"the trusted header again", func(c *scenario) { h := *c.trusted.Header; c.head.Header = &h; c.vals = c.trustedVals }},
	{"last block none", func(c *scenario) { c.head.LastBlockID = types.BlockID{} }},
	{"last parts total", func(c *scenario) { c.head.LastBlockID.PartSetHeader.Total = c.rnd.Uint32() }},
	{"announced set", func(c *scenario) { c.trusted.NextValidatorsHash = c.hash() }},
	{"trusted chain", func(c *scenario) { c.trusted.ChainID = "other" }},
	{"trusted height", func(c *scenario) { c.trusted.Height = c.head.Height - c.rnd.Int64N(3) }},
	{"trusted set", func(c *scenario) { c.trustedVals = c.set(people[:4]) }},
}

var timeMutations = []mutation{
	{"time a bit", func(c *scenario) { c.head.Time = c.head.Time.Add(time.Duration(c.rnd.Int64N(5) - 2)) }},
	{"time of the trusted", func(c *scenario) { c.head.Time = c.trusted.Time.Add(time.Duration(c.rnd.Int64N(3) - 1)) }},
	{"time zero", func(c *scenario) { c.head.Time = time.Time{} }},
	{"time at the epoch", func(c *scenario) { c.head.Time = time.Unix(0, c.rnd.Int64N(2)) }},
	{"time of year 10000", func(c *scenario) { c.head.Time = time.Unix(253402300800, 0) }},
	{"time before year 1", func(c *scenario) { c.head.Time = time.Unix(-62135596801, 0) }},
	{"both times before the epoch", func(c *scenario) {
		c.trusted.Time = time.Unix(-1000, 1)
		c.head.Time = time.Unix(-c.rnd.Int64N(1000), c.rnd.Int64N(1e9))
		c.now = time.Unix(0, 0)
	}},
	{"now at the drift", func(c *scenario) { c.now = c.head.Time.Add(time.Duration(c.rnd.Int64N(3)-1) - c.drift) }},
	{"now before", func(c *scenario) { c.now = c.head.Time.Add(-time.Minute) }},
	{"now at the end of trust", func(c *scenario) { c.now = c.trusted.Time.Add(c.period + time.Duration(c.rnd.Int64N(3)-1)) }},
	{"no trusting period", func(c *scenario) { c.period = 0 }},
	{"negative drift", func(c *scenario) { c.drift = -time.Hour }},
}

var commitMutations = []mutation{
	{"commit height", func(c *scenario) { c.head.Commit.Height++ }},
	{"commit height negative", func(c *scenario) { c.head.Commit.Height = -1 }},
	{"round", func(c *scenario) { c.head.Commit.Round++ }},
	{"round zero", func(c *scenario) { c.head.Commit.Round = 0 }},
	{"round negative", func(c *scenario) { c.head.Commit.Round = -1 }},
	{"commit block hash", func(c *scenario) { c.head.Commit.BlockID.Hash = flip(c, c.head.Commit.BlockID.Hash) }},
	{"commit block none", func(c *scenario) { c.head.Commit.BlockID = types.BlockID{} }},
	{"parts total", func(c *scenario) { c.head.Commit.BlockID.PartSetHeader.Total++ }},
	{"parts hash", func(c *scenario) { c.head.Commit.BlockID.PartSetHeader.Hash = c.hash() }},
	{"parts hash short", func(c *scenario) { c.head.Commit.BlockID.PartSetHeader.Hash = c.hash()[:31] }},
	{"parts none", func(c *scenario) { c.head.Commit.BlockID.PartSetHeader = types.PartSetHeader{} }},
	{"no votes", func(c *scenario) { c.head.Commit.Signatures = nil }},
	{"a vote less", func(c *scenario) {
		if s := c.head.Commit.Signatures; len(s) > 0 {
			c.head.Commit.Signatures = s[:len(s)-1]
		}
	}},
	{"a vote more", func(c *scenario) { c.head.Commit.Signatures = append(c.head.Commit.Signatures, *c.vote()) }},
	{"an absent vote more", func(c *scenario) {
		c.head.Commit.Signatures = append(c.head.Commit.Signatures, types.NewCommitSigAbsent())
	}},
	{"votes swapped", func(c *scenario) { s, i, j := c.two(); s[i], s[j] = s[j], s[i] }},
	{"signatures swapped", func(c *scenario) {
		s, i, j := c.two()
		s[i].Signature, s[j].Signature = s[j].Signature, s[i].Signature
	}},
	{"addresses swapped", func(c *scenario) {
		s, i, j := c.two()
		s[i].ValidatorAddress, s[j].ValidatorAddress = s[j].ValidatorAddress, s[i].ValidatorAddress
	}},
	{"vote twice", func(c *scenario) { s, i, j := c.two(); s[i] = s[j] }},
	{"all absent but a few", func(c *scenario) {
		for i := range c.head.Commit.Signatures {
			if c.rnd.IntN(3) > 0 {
				c.head.Commit.Signatures[i] = types.NewCommitSigAbsent()
			}
		}
	}},
	{"trimmed", func(c *scenario) {
		var total, power int64 // a spoiled set's may overflow, no matter
		for _, v := range c.vals.Validators {
			total += v.VotingPower
		}
		for i, v := range c.vals.Validators {
			if i < len(c.head.Commit.Signatures) && power > total*2/3 {
				c.head.Commit.Signatures[i] = types.NewCommitSigAbsent()
			}
			power += v.VotingPower
		}
	}},
}

var voteMutations = []mutation{
	{"signature flipped", func(c *scenario) { s := c.vote(); s.Signature = flip(c, s.Signature) }},
	{"signature zero", func(c *scenario) { c.vote().Signature = make([]byte, 65) }},
	{"signature empty", func(c *scenario) { c.vote().Signature = nil }},
	{"signature without V", func(c *scenario) { s := c.vote(); s.Signature = s.Signature[:64] }},
	{"signature longer", func(c *scenario) { s := c.vote(); s.Signature = append(s.Signature, 0) }},
	{"signature too long", func(c *scenario) { c.vote().Signature = make([]byte, types.MaxSignatureSize+1) }},
	{"signature with high S", func(c *scenario) { negateS(c.vote().Signature) }},
	{"V flipped", func(c *scenario) {
		if s := c.vote(); len(s.Signature) == 65 {
			s.Signature[64] ^= 1
		}
	}},
	{"V of Ethereum", func(c *scenario) {
		if s := c.vote(); len(s.Signature) == 65 {
			s.Signature[64] += 27
		}
	}},
	{"signature of a stranger", func(c *scenario) { c.vote().Signature, _ = people[200].priv.Sign([]byte("x")) }},
	{"address flipped", func(c *scenario) { s := c.vote(); s.ValidatorAddress = flip(c, s.ValidatorAddress) }},
	{"address of a trusted one", func(c *scenario) {
		c.vote().ValidatorAddress = c.trustedVals.Validators[c.rnd.IntN(c.trustedVals.Size())].Address
	}},
	{"all addresses of one", func(c *scenario) {
		for i := range c.head.Commit.Signatures {
			if s := &c.head.Commit.Signatures[i]; s.BlockIDFlag != types.BlockIDFlagAbsent {
				s.ValidatorAddress = c.trustedVals.Validators[0].Address
			}
		}
	}},
	{"wrong signature, wrong address", func(c *scenario) {
		s := c.vote()
		s.Signature, s.ValidatorAddress = make([]byte, 65), people[200].address
	}},
	{"address short", func(c *scenario) { c.vote().ValidatorAddress = []byte{1} }},
	{"vote time", func(c *scenario) { s := c.vote(); s.Timestamp = s.Timestamp.Add(1) }},
	{"vote time zero", func(c *scenario) { c.vote().Timestamp = time.Time{} }},
	{"vote time at the epoch", func(c *scenario) { c.vote().Timestamp = time.Unix(0, 0) }},
	{"vote time 290 years on", func(c *scenario) { c.vote().Timestamp = c.head.Time.Add(290 * 365 * 24 * time.Hour) }},
	{"vote time of year 10000", func(c *scenario) { c.vote().Timestamp = time.Unix(253402300800, 0) }},
	{"vote absent", func(c *scenario) { *c.vote() = types.NewCommitSigAbsent() }},
	{"vote absent with content", func(c *scenario) { c.vote().BlockIDFlag = types.BlockIDFlagAbsent }},
	{"vote nil", func(c *scenario) { c.vote().BlockIDFlag = types.BlockIDFlagNil }},
	{"vote for the block", func(c *scenario) { c.vote().BlockIDFlag = types.BlockIDFlagCommit }},
	{"flag unknown", func(c *scenario) { c.vote().BlockIDFlag = types.BlockIDFlag(c.rnd.IntN(2) * 4) }},
}

// negateS turns a signature into the other one that plain ECDSA accepts.
func negateS(signature []byte) {
	if len(signature) != 65 {
		return
	}
	s := new(big.Int).SetBytes(signature[32:64])
	s.Sub(secp256k1.Params().N, s).FillBytes(signature[32:64])
	signature[64] ^= 1
}

var setMutations = []mutation{
	{"power", func(c *scenario) { c.member().VotingPower++ }},
	{"power zero", func(c *scenario) { c.member().VotingPower = 0 }},
	{"power negative", func(c *scenario) { c.member().VotingPower = -1 }},
	{"power too much", func(c *scenario) { c.member().VotingPower = types.MaxTotalVotingPower }},
	{"power huge", func(c *scenario) { c.member().VotingPower = 1<<63 - 1 }},
	{"order", func(c *scenario) {
		c.validators(func(l []*types.Validator) []*types.Validator {
			c.rnd.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
			return l
		})
	}},
	{"a validator less", func(c *scenario) {
		c.validators(func(l []*types.Validator) []*types.Validator { return l[:max(0, len(l)-1)] })
	}},
	{"a validator more", func(c *scenario) {
		c.validators(func(l []*types.Validator) []*types.Validator {
			p := people[c.rnd.IntN(len(people))]
			return append(l, &types.Validator{Address: p.address, PubKey: p.pub, VotingPower: 1})
		})
	}},
	{"a validator and vote less", func(c *scenario) {
		n := min(len(c.vals.Validators), len(c.head.Commit.Signatures))
		n -= min(n, 1)
		c.validators(func(l []*types.Validator) []*types.Validator { return l[:n] })
		c.head.Commit.Signatures = c.head.Commit.Signatures[:n]
	}},
	{"a validator and vote more", func(c *scenario) {
		p := people[c.rnd.IntN(len(people))]
		c.validators(func(l []*types.Validator) []*types.Validator {
			return append(l, &types.Validator{Address: p.address, PubKey: p.pub, VotingPower: 1})
		})
		vote := *c.vote()
		vote.ValidatorAddress = p.address
		c.head.Commit.Signatures = append(c.head.Commit.Signatures, vote)
	}},
	{"a validator twice", func(c *scenario) {
		c.validators(func(l []*types.Validator) []*types.Validator { return append(l, c.member().Copy()) })
	}},
	{"nobody", func(c *scenario) {
		c.validators(func([]*types.Validator) []*types.Validator { return nil })
	}},
	{"another validator's key", func(c *scenario) {
		p := people[c.rnd.IntN(len(people))]
		v := c.member()
		v.Address, v.PubKey = p.address, p.pub
	}},
	{"address not of the key", func(c *scenario) { c.member().Address = people[c.rnd.IntN(len(people))].address }},
	{"another key type", func(c *scenario) {
		v, key := c.member(), ed25519.GenPrivKeyFromSecret([]byte{1}).PubKey()
		v.Address, v.PubKey = key.Address(), key
	}},
	{"set of strangers", func(c *scenario) { c.vals = c.set(people[100 : 100+len(c.head.Commit.Signatures)%30+1]) }},
	{"set of the trusted", func(c *scenario) { c.vals = c.trustedVals.Copy() }},
}
