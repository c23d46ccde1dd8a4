package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc/wire"
)

// loadKey loads the validator's key and what it signed last. CometBFT's loader
// ends the process on a bad file, so the files are looked at first.
func loadKey(home string) (*privval.FilePV, error) {
	keyPath, statePath := filepath.Join(home, validatorKey), filepath.Join(home, signStateFile)
	var k privval.FilePVKey
	if err := readKey(keyPath, &k); err != nil {
		return nil, err
	}
	switch {
	case k.PrivKey == nil:
		return nil, damaged(keyPath)
	case k.PrivKey.Type() != chain.KeyType:
		return nil, wire.Errorf(wire.Invalid, "%s holds a key of type %s; confab's validators use %s", keyPath, k.PrivKey.Type(), chain.KeyType)
	}
	// A signature on anything shows whether the key is one at all.
	if _, err := k.PrivKey.Sign(nil); err != nil {
		return nil, damaged(keyPath)
	}
	if k.PubKey != nil && !k.PubKey.Equals(k.PrivKey.PubKey()) {
		return nil, damaged(keyPath)
	}
	if err := checkSignState(statePath); err != nil {
		return nil, err
	}
	return privval.LoadFilePV(keyPath, statePath), nil
}

// checkSignState reports why the file of what the validator signed last cannot
// be used. CometBFT would take one without content for that of a validator that
// never signed.
func checkSignState(path string) error {
	if err := readKey(path, &privval.FilePVLastSignState{}); err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read sign state: %w", err)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil || fields["height"] == nil || fields["round"] == nil || fields["step"] == nil {
		return damaged(path)
	}
	return nil
}

// loadNodeKey loads the key by which peers know the node.
func loadNodeKey(home string) (*p2p.NodeKey, error) {
	path := filepath.Join(home, nodeKey)
	var k p2p.NodeKey
	if err := readKey(path, &k); err != nil {
		return nil, err
	}
	if k.PrivKey == nil || len(k.PrivKey.Bytes()) != 64 || k.PrivKey.Type() != "ed25519" {
		return nil, damaged(path)
	}
	return &k, nil
}

// readKey reads one of the files of a validator's keys.
func readKey(path string, into any) error {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.NotFound, "%s does not exist: run confab-validator init first, or restore it; a restored %s must be no older than the validator's last vote",
			path, signStateFile)
	case err != nil:
		return fmt.Errorf("read validator key: %w", err)
	case cmtjson.Unmarshal(b, into) != nil:
		// The parser's words may quote the file, and with it the key.
		return damaged(path)
	}
	return nil
}

func damaged(path string) error {
	return wire.Errorf(wire.Invalid, "%s is damaged; restore it from a backup", path)
}

// exposed reports whether others on the machine can read the validator's key.
func exposed(home string) bool {
	info, err := os.Stat(filepath.Join(home, validatorKey))
	return err == nil && info.Mode().Perm()&0o077 != 0
}

// writeKeys makes the files of a new validator's keys.
func writeKeys(home string) error {
	pv := privval.NewFilePV(secp256k1eth.GenPrivKey(), filepath.Join(home, validatorKey), filepath.Join(home, signStateFile))
	for path, v := range map[string]any{validatorKey: pv.Key, signStateFile: pv.LastSignState} {
		b, err := cmtjson.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		if err := writeNew(filepath.Join(home, path), b, 0o600); err != nil {
			return err
		}
	}
	_, err := p2p.LoadOrGenNodeKey(filepath.Join(home, nodeKey))
	return err
}

// commits is where a node keeps the commit that it saw for each height;
// CometBFT's block store is one. It returns nil where it has none.
type commits interface {
	LoadSeenCommit(height int64) *cmttypes.Commit
}

// signedIn reports whether the validator of this address signed the commit.
func signedIn(c *cmttypes.Commit, address crypto.Address) bool {
	if c == nil {
		return false
	}
	for _, s := range c.Signatures {
		if s.BlockIDFlag != cmttypes.BlockIDFlagAbsent && bytes.Equal(s.ValidatorAddress, address) {
			return true
		}
	}
	return false
}

// errSignedElsewhere is what a guard stops a validator with.
var errSignedElsewhere = errors.New("this validator's own signature is in one of the last blocks (block.double_sign_check): " +
	"stop the other process that signs with its key; if there is none, wait for as many blocks and start again")

// guard is a validator's key that signs nothing before it has looked for its own
// signature in the last blocks. CometBFT has the same check, but panics.
type guard struct {
	*privval.FilePV
	commits commits
	depth   int64 // how many blocks
	alarm   func(error)

	once sync.Once
	err  error
}

func (g *guard) check(height int64) error {
	g.once.Do(func() {
		for h := height - 1; h > 0 && h >= height-g.depth; h-- {
			if signedIn(g.commits.LoadSeenCommit(h), g.GetAddress()) {
				g.err = errSignedElsewhere
				g.alarm(g.err)
				return
			}
		}
	})
	return g.err
}

// SignVote implements CometBFT's PrivValidator.
func (g *guard) SignVote(chainID string, vote *cmtproto.Vote) error {
	if err := g.check(vote.Height); err != nil {
		return err
	}
	return g.FilePV.SignVote(chainID, vote)
}

// SignProposal implements CometBFT's PrivValidator.
func (g *guard) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	if err := g.check(proposal.Height); err != nil {
		return err
	}
	return g.FilePV.SignProposal(chainID, proposal)
}
