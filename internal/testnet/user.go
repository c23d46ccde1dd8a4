package testnet

import (
	"context"
	"fmt"
	"io"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// User is somebody with keys whose ops are made by hand, which is what tests of
// a chain want: package agent makes them for people.
type User struct {
	ID     namesvc.AccountID
	Root   key.Root
	Device key.Device

	chain   string
	genesis namesvc.Genesis
	seq     uint64
	last    [32]byte
	rand    io.Reader
}

// NewUser returns somebody who is not on the chain yet.
func NewUser(r io.Reader, chain string) (*User, error) { return newUser(r, chain, namesvc.Person) }

// NewService returns a service that is not on the chain yet: it can operate a
// validator.
func NewService(r io.Reader, chain string) (*User, error) { return newUser(r, chain, namesvc.Service) }

func newUser(r io.Reader, chain string, kind namesvc.Kind) (*User, error) {
	u := &User{chain: chain, rand: r}
	var err error
	if u.Root, err = key.NewRoot(r); err != nil {
		return nil, err
	}
	if u.Device, err = key.NewDevice(r); err != nil {
		return nil, err
	}
	if u.genesis, err = namesvc.NewGenesis(r, kind, [32]byte{}, u.Root.Public()); err != nil {
		return nil, err
	}
	u.ID = u.genesis.Account()
	u.last = u.ID
	return u, nil
}

// Registration returns a commit and the op that reveals it, with work for the
// newest checkpoint that info tells.
func (u *User) Registration(ctx context.Context, h namesvc.Handle, info lightclient.ChainInfo) (commit, register []byte, err error) {
	expires := uint64(info.Proof.Time.Unix()) + 90*24*3600
	consent := u.Device.SignConsent(namesvc.Consent(u.chain, u.ID, 1, u.Device.Public(), namesvc.AllScopes, expires))
	body := namesvc.Registration{Handle: h, Genesis: u.genesis.Encode(), Devices: []namesvc.Grant{{
		Key: u.Device.Public(), Scopes: namesvc.AllScopes, Expires: expires, Consent: consent[:],
	}}}
	if _, err := io.ReadFull(u.rand, body.Salt[:]); err != nil {
		return nil, nil, err
	}
	register = u.sign(namesvc.OpRegister, body, u.Root, info.Proof.Height+info.Params.Reveal)
	hash := namesvc.CommitHash(register)
	bits := namesvc.RequiredBits(info.Params, info.Meter, uint64(info.Proof.Time.Unix()))
	nonce, err := ticket.Solve(ctx, ticket.Challenge(u.chain, hash, info.Checkpoint.Digest), bits, info.Params.WorkKiB, 0, 1, nil)
	if err != nil {
		return nil, nil, err
	}
	return namesvc.EncodeCommit(namesvc.Commit{
		Chain: u.chain, Expires: info.Proof.Height + info.Params.Reveal/2, Hash: hash,
		Checkpoint: info.Checkpoint.Number, Payment: ticket.Work, Proof: ticket.Nonce(nonce),
	}), register, nil
}

// Update returns the user's next op: it sets the profile to a hash, and is good
// up to a height.
func (u *User) Update(profile [32]byte, expires uint64) []byte {
	return u.sign(namesvc.OpRecords, namesvc.Records{Profile: profile[:]}, u.Device, expires)
}

// Offer returns the user's next op: it offers to run a validator, or with a zero
// offer leaves.
func (u *User) Offer(o namesvc.Offer, expires uint64) []byte {
	return u.sign(namesvc.OpOperate, o, u.Root, expires)
}

// Vote returns the user's next op: a vote.
func (u *User) Vote(v namesvc.Vote, expires uint64) []byte {
	return u.sign(namesvc.OpVote, v, u.Root, expires)
}

func (u *User) sign(kind namesvc.OpKind, body any, by namesvc.Signer, expires uint64) []byte {
	op := namesvc.SignOp(namesvc.Op{Kind: kind, Chain: u.chain, Account: u.ID, Seq: u.seq + 1, Prev: u.last, Expires: expires}, body, by)
	tx, fault := namesvc.Parse(op)
	if fault != nil {
		panic("testnet: a user's own op does not parse: " + fault.Error())
	}
	u.seq, u.last = u.seq+1, tx.ID
	return op
}

// Register puts the user on the chain and waits for the proof.
func (u *User) Register(ctx context.Context, c *lightclient.Client, h namesvc.Handle) error {
	info, err := c.Chain(ctx)
	if err != nil {
		return fmt.Errorf("register %v: %w", h, err)
	}
	commit, register, err := u.Registration(ctx, h, info)
	if err != nil {
		return fmt.Errorf("register %v: %w", h, err)
	}
	for _, op := range [][]byte{commit, register} {
		if _, err := c.Submit(ctx, op, nil); err != nil {
			return fmt.Errorf("register %v: %w", h, err)
		}
	}
	return nil
}
