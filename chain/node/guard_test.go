package node

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

type fakeCommits map[int64]*cmttypes.Commit

func (f fakeCommits) LoadSeenCommit(h int64) *cmttypes.Commit { return f[h] }

// TestGuard_SignsNothingWhileAnotherProcessSigns: the validator's own signature
// in one of the last blocks means that another process has its key.
func TestGuard_SignsNothingWhileAnotherProcessSigns(t *testing.T) {
	k := secp256k1eth.GenPrivKey()
	by := func(flag cmttypes.BlockIDFlag, address []byte) *cmttypes.Commit {
		return &cmttypes.Commit{Signatures: []cmttypes.CommitSig{{}, {BlockIDFlag: flag, ValidatorAddress: address}}}
	}
	me, other := k.PubKey().Address(), secp256k1eth.GenPrivKey().PubKey().Address()
	for _, tc := range []struct {
		name    string
		depth   int64
		commits fakeCommits
		refused bool
	}{
		{"nobody signed", 5, fakeCommits{}, false},
		{"another validator signed", 5, fakeCommits{99: by(cmttypes.BlockIDFlagCommit, other)}, false},
		{"it signed the last block", 5, fakeCommits{99: by(cmttypes.BlockIDFlagCommit, me)}, true},
		{"it signed the oldest that counts", 5, fakeCommits{95: by(cmttypes.BlockIDFlagCommit, me)}, true},
		{"it signed for no block", 5, fakeCommits{96: by(cmttypes.BlockIDFlagNil, me)}, true},
		{"it signed long ago", 5, fakeCommits{94: by(cmttypes.BlockIDFlagCommit, me)}, false},
		{"it was absent", 5, fakeCommits{99: by(cmttypes.BlockIDFlagAbsent, me)}, false},
		{"the check is off", 0, fakeCommits{99: by(cmttypes.BlockIDFlagCommit, me)}, false},
	} {
		dir := t.TempDir()
		alarms := 0
		g := &guard{
			FilePV:  privval.NewFilePV(k, filepath.Join(dir, "key"), filepath.Join(dir, "state")),
			commits: tc.commits, depth: tc.depth, alarm: func(error) { alarms++ },
		}
		vote := func(h int64) error {
			return g.SignVote("chain", &cmtproto.Vote{Type: cmtproto.PrevoteType, Height: h})
		}
		errs := []error{vote(100), g.SignProposal("chain", &cmtproto.Proposal{Type: cmtproto.ProposalType, Height: 101}), vote(102)}
		for i, err := range errs {
			if got := errors.Is(err, errSignedElsewhere); got != tc.refused || (err != nil) != tc.refused {
				t.Errorf("%s: signature %d: %v", tc.name, i, err)
			}
		}
		if want := map[bool]int{true: 1}[tc.refused]; alarms != want {
			t.Errorf("%s: %d alarms, want %d", tc.name, alarms, want)
		}
		if tc.refused && g.LastSignState.Height != 0 {
			t.Errorf("%s: it noted a signature that it refused", tc.name)
		}
	}
}
