package concierge

import (
	"context"
	"errors"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// The bodies of requests about the vault.
type (
	// VaultState is where an account's vault is, and how full.
	VaultState struct {
		_     struct{} `cbor:",toarray"`
		ID    stream.ID
		Head  stream.Head
		Base  uint64 // the last number that was trimmed
		Bytes uint64
		Limit uint64
	}
	vaultBody struct {
		_       struct{} `cbor:",toarray"`
		Message stream.MessageID
		Body    []byte
		Expect  []stream.Head // none or one
	}
	vaultAnswer struct {
		_     struct{} `cbor:",toarray"`
		Seq   uint64
		Again bool
		Moved []stream.Head // not appended: the head is this one
	}
	trimBody struct {
		_    struct{} `cbor:",toarray"`
		Upto uint64
	}
)

// Vault returns the id of the owner's vault, which his devices read like a queue.
func (o Owner) Vault() stream.ID { return o.kept(keptVault, nil) }

// doVault does what a device asks for its account's vault. Entries are appended
// here and not under an address, since an address could be kept by a device that
// was removed. The owner is held.
func (s *Server) doVault(ctx context.Context, c *session, r request) (any, error) {
	id := c.owner.Vault()
	switch r.Op {
	case opVaultAppend:
		b, err := decodeBody[vaultBody](r)
		if err != nil {
			return nil, err
		}
		if !c.listed {
			return nil, wire.Errorf(wire.Unauthorized, "the account names another concierge now: its vault here can be read and trimmed")
		}
		if len(b.Expect) > 1 {
			return nil, wire.Errorf(wire.Invalid, "a vault has one head, and %d are expected", len(b.Expect))
		}
		return s.appendVault(ctx, id, b)
	case opVaultTrim:
		b, err := decodeBody[trimBody](r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.store.Trim(ctx, id, b.Upto)
	default: // opVault
		v := VaultState{ID: id, Limit: s.limits.VaultBytes, Head: stream.Genesis(id)}
		state, err := s.store.State(ctx, id)
		if errors.Is(err, stream.ErrNotFound) {
			return v, nil
		}
		v.Head, v.Base, v.Bytes = state.Head, state.Base, state.Bytes
		return v, err
	}
}

// appendVault appends to a vault, which is made with its first entry and takes on
// limits that the operator has changed.
func (s *Server) appendVault(ctx context.Context, id stream.ID, b vaultBody) (any, error) {
	m := stream.Message{ID: b.Message, Body: b.Body}
	if len(b.Expect) == 1 {
		m.Expect = &b.Expect[0]
	}
	r, err := stream.Append(ctx, s.store, id, m)
	if errors.Is(err, stream.ErrNotFound) || errors.Is(err, stream.ErrFull) {
		state, serr := s.store.State(ctx, id)
		if serr == nil && state.Settings.MaxBytes == s.limits.VaultBytes {
			return nil, wire.Errorf(wire.Exhausted, "vault is full with %d bytes: trim it, or put large parts into files", state.Bytes)
		}
		if serr != nil && !errors.Is(serr, stream.ErrNotFound) {
			return nil, serr
		}
		if err := s.store.Configure(ctx, id, stream.Settings{MaxBytes: s.limits.VaultBytes}); err != nil {
			return nil, err
		}
		m.Body = append([]byte(nil), b.Body...) // the first belongs to the store
		r, err = stream.Append(ctx, s.store, id, m)
	}
	var moved *stream.HeadError
	if errors.As(err, &moved) {
		return vaultAnswer{Moved: []stream.Head{moved.Head}}, nil
	}
	return vaultAnswer{Seq: r.Seq, Again: r.Again}, err
}
