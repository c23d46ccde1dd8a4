package chain_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
)

// signedHeader is a block that CometBFT's own types made and signed, with one vote
// for nothing and one that is absent.
func signedHeader(t testing.TB, height int64) (*cmttypes.Header, *cmttypes.Commit, *cmttypes.ValidatorSet) {
	t.Helper()
	keys := map[string]secp256k1eth.PrivKey{}
	var list []*cmttypes.Validator
	for i := range 7 {
		k := secp256k1eth.GenPrivKeySecp256k1Eth([]byte{9, byte(i)})
		keys[string(k.PubKey().Address())] = k
		list = append(list, cmttypes.NewValidator(k.PubKey(), int64(10+i)))
	}
	set := cmttypes.NewValidatorSet(list)
	set.IncrementProposerPriority(5)
	params := chain.ConsensusParams()
	at := time.Unix(1_800_000_000, 123).UTC()
	h := &cmttypes.Header{
		Version: cmtversion.Consensus{Block: version.BlockProtocol, App: 1}, ChainID: "some-chain", Height: height, Time: at,
		LastBlockID:        cmttypes.BlockID{Hash: bytes.Repeat([]byte{1}, 32), PartSetHeader: cmttypes.PartSetHeader{Total: 1, Hash: bytes.Repeat([]byte{2}, 32)}},
		ValidatorsHash:     set.Hash(),
		NextValidatorsHash: set.Hash(), ConsensusHash: params.Hash(), AppHash: bytes.Repeat([]byte{3}, 32),
		LastResultsHash: bytes.Repeat([]byte{4}, 32), ProposerAddress: set.GetProposer().Address,
	}
	id := cmttypes.BlockID{Hash: h.Hash(), PartSetHeader: cmttypes.PartSetHeader{Total: 3, Hash: bytes.Repeat([]byte{5}, 32)}}
	c := &cmttypes.Commit{Height: height, Round: 2, BlockID: id, Signatures: make([]cmttypes.CommitSig, set.Size())}
	for i, v := range set.Validators {
		vote := &cmttypes.Vote{
			Type: cmtproto.PrecommitType, Height: height, Round: 2, BlockID: id, Timestamp: at.Add(time.Duration(i) * time.Millisecond),
			ValidatorAddress: v.Address, ValidatorIndex: int32(i),
		}
		if i == 5 {
			vote.BlockID = cmttypes.BlockID{}
		}
		sig, err := keys[string(v.Address)].Sign(cmttypes.VoteSignBytes("some-chain", vote.ToProto()))
		if err != nil {
			t.Fatal(err)
		}
		vote.Signature = sig
		if c.Signatures[i] = vote.CommitSig(); i == 6 {
			c.Signatures[i] = cmttypes.NewCommitSigAbsent()
		}
	}
	return h, c, set
}

func priorities(set *cmttypes.ValidatorSet) (out []int64) {
	for _, v := range set.Validators {
		out = append(out, v.ProposerPriority)
	}
	return out
}

func TestCommitOf_GivesBackWhatCometBFTSigned(t *testing.T) {
	h, c, set := signedHeader(t, 77)
	head, err := chain.HeadOf(h, c)
	if err != nil {
		t.Fatal(err)
	}
	validators, err := chain.ValidatorsOf(set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chain.CommitOf(head, validators)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Hash(), c.Hash()) {
		t.Errorf("%v\nwant %v", got, c)
	}
	if err := set.VerifyCommit("some-chain", c.BlockID, 77, got); err != nil {
		t.Error(err)
	}
	head.Commit.Votes = head.Commit.Votes[1:]
	if _, err := chain.CommitOf(head, validators); err == nil {
		t.Error("a commit of other validators is taken")
	}
}

func TestValidatorSetOf_GivesBackTheSetAndItsTurns(t *testing.T) {
	_, _, set := signedHeader(t, 77)
	validators, err := chain.ValidatorsOf(set)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chain.ValidatorSetOf(validators, priorities(set))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Hash(), set.Hash()) {
		t.Error("another set")
	}
	for range 20 { // for ever in step
		if !bytes.Equal(got.GetProposer().Address, set.GetProposer().Address) {
			t.Fatalf("it is the turn of %v, not of %v", set.GetProposer(), got.GetProposer())
		}
		got.IncrementProposerPriority(1)
		set.IncrementProposerPriority(1)
	}
	for name, bad := range map[string][]int64{
		"too few": priorities(set)[1:], "none": nil, "too large": {1 << 62, 0, 0, 0, 0, 0, 0}, "too small": {-1 << 63, 0, 0, 0, 0, 0, 0},
	} {
		if _, err := chain.ValidatorSetOf(validators, bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestStart_MakesCometBFTsState(t *testing.T) {
	var s chain.Start
	for i, at := range []struct {
		head *verify.Head
		set  *verify.Validators
		turn *[]int64
	}{{&s.Last, &s.LastSet, nil}, {&s.Current, &s.CurrentSet, &s.CurrentTurns}, {&s.Next, &s.NextSet, &s.NextTurns}} {
		h, c, set := signedHeader(t, int64(40+i))
		var err error
		if *at.head, err = chain.HeadOf(h, c); err != nil {
			t.Fatal(err)
		}
		if *at.set, err = chain.ValidatorsOf(set); err != nil {
			t.Fatal(err)
		}
		if at.turn != nil {
			*at.turn = priorities(set)
		}
	}
	state, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	if state.LastBlockHeight != 40 || !bytes.Equal(state.LastBlockID.Hash, s.Current.Header.LastBlock.Hash[:]) && state.LastBlockID.Hash == nil ||
		!bytes.Equal(state.AppHash, s.Current.Header.AppHash[:]) || !bytes.Equal(state.ConsensusParams.Hash(), s.Current.Header.ConsensusHash[:]) ||
		state.ConsensusParams.Version.App != 1 || state.LastHeightValidatorsChanged != 42 {
		t.Errorf("%+v", state)
	}
	if len(state.Bytes()) == 0 { // as it is stored
		t.Error("it cannot be stored")
	}
	s.Current.Header.ConsensusHash[0] ^= 1
	if _, err := s.State(); err == nil {
		t.Error("consensus parameters of another program are taken")
	}
}
