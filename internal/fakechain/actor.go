package fakechain

import (
	"bytes"
	"crypto/sha256"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
)

// Actor is somebody with an account. All keys grow from the name.
type Actor struct {
	ID      namesvc.AccountID
	Root    key.Root
	Device  key.Device
	Server  key.Server
	genesis namesvc.Genesis
}

// NewActor returns an actor who is on no chain yet.
func NewActor(name string, kind namesvc.Kind) *Actor {
	seed := func(what string) [32]byte {
		return sha256.Sum256([]byte("fakechain actor\n" + name + "\n" + what))
	}
	a := &Actor{
		Root: key.RootFromSeed(seed("root")), Device: key.DeviceFromSeed(seed("device")),
		Server: key.ServerFromSeed(seed("server")),
	}
	salt := seed("salt")
	g, err := namesvc.NewGenesis(bytes.NewReader(salt[:]), kind, [32]byte{}, a.Root.Public())
	if err != nil {
		panic("fakechain: " + err.Error())
	}
	a.genesis, a.ID = g, g.Account()
	return a
}

// opLife is how many blocks the ops of actors live.
const opLife = 100

// Sign returns an op that follows the account's newest one, with changes made
// before it is signed.
func (c *Chain) Sign(a *Actor, kind namesvc.OpKind, body any, changes ...func(*namesvc.Op)) []byte {
	op := namesvc.Op{Kind: kind, Chain: c.ID(), Account: a.ID, Seq: 1, Prev: a.ID, Expires: c.Height() + opLife}
	if e, ok := c.Entry(a.ID); ok {
		op.Seq, op.Prev = e.Seq+1, e.LastOp
	}
	for _, change := range changes {
		change(&op)
	}
	return namesvc.SignOp(op, body, a.Root)
}

// Registration returns the two ops that put an actor on the chain: the commit,
// and the register op for a later block.
func (c *Chain) Registration(a *Actor, h namesvc.Handle, r *namesvc.Records) (commit, register []byte) {
	consent := a.Device.SignConsent(namesvc.Consent(c.ID(), a.ID, 1, a.Device.Public(), namesvc.AllScopes, c.deviceExpiry()))
	register = c.Sign(a, namesvc.OpRegister, namesvc.Registration{
		Handle: h, Genesis: a.genesis.Encode(), Records: r,
		Devices: []namesvc.Grant{{Key: a.Device.Public(), Scopes: namesvc.AllScopes, Expires: c.deviceExpiry(), Consent: consent[:]}},
	})
	commit = namesvc.EncodeCommit(namesvc.Commit{
		Chain: c.ID(), Expires: c.Height() + opLife, Hash: namesvc.CommitHash(register),
		Checkpoint: c.checkpoints(), Payment: ticket.Work, Proof: ticket.Nonce(0),
	})
	return commit, register
}

// deviceExpiry is a year from the chain's beginning.
func (c *Chain) deviceExpiry() uint64 { return uint64(c.spec.Start.Unix()) + 365*24*3600 }

// Register puts an actor on the chain, in two blocks of its own, a second apart.
func (c *Chain) Register(a *Actor, h namesvc.Handle, r *namesvc.Records) error {
	commit, register := c.Registration(a, h, r)
	if err := c.Next(commit); err != nil {
		return err
	}
	return c.Next(register)
}

// Concierge returns the records of a service that buffers others' messages at
// a URL.
func (a *Actor) Concierge(url string) *namesvc.Records {
	return &namesvc.Records{Service: &namesvc.Endpoint{
		URLs: []string{url}, Roles: namesvc.RoleConcierge, Key: a.Server.Public(),
	}}
}

// ServedBy returns the records of an account with this concierge.
func ServedBy(services ...*Actor) *namesvc.Records {
	var r namesvc.Records
	for _, s := range services {
		r.Concierges = append(r.Concierges, namesvc.Concierge{Account: s.ID, Generation: 1})
	}
	return &r
}
