package concierge

import (
	"context"
	"errors"

	"github.com/confab-chat/confab/stream"
)

// Vault returns where this account's vault is. Read it like a queue, under its id;
// it is not found there before its first entry.
func (c *Client) Vault(ctx context.Context) (VaultState, error) {
	var v VaultState
	return v, c.ask(ctx, opVault, struct{}{}, &v)
}

// AppendVault appends an entry to this account's vault, at most stream.MaxBody
// bytes, and returns once it is durable. It is safe to repeat with the same message
// id. A *stream.HeadError says that the vault's head is not m.Expect; an error of
// kind Exhausted that the vault is full.
func (c *Client) AppendVault(ctx context.Context, m stream.Message) (stream.Receipt, error) {
	if len(m.Body) > stream.MaxBody {
		return stream.Receipt{}, stream.ErrTooLarge
	}
	b := vaultBody{Message: m.ID, Body: m.Body}
	if m.Expect != nil {
		b.Expect = []stream.Head{*m.Expect}
	}
	var a vaultAnswer
	if err := c.ask(ctx, opVaultAppend, b, &a); err != nil {
		return stream.Receipt{}, err
	}
	if len(a.Moved) > 0 {
		return stream.Receipt{}, &stream.HeadError{Head: a.Moved[0]}
	}
	return stream.Receipt{Seq: a.Seq, Again: a.Again}, nil
}

// TrimVault lets go of the vault's entries up to a number.
func (c *Client) TrimVault(ctx context.Context, upto uint64) error {
	return c.ask(ctx, opVaultTrim, trimBody{Upto: upto}, nil)
}

// CopyVault appends the entries of this account's vault at another concierge after
// a number to the vault here, with the same message ids, and returns the number of
// the last: an interrupted copy may be repeated from there, or from the beginning.
// Files that entries speak of are the caller's to copy.
func (c *Client) CopyVault(ctx context.Context, from *Client, after uint64) (last uint64, err error) {
	v, err := from.Vault(ctx)
	if err != nil {
		return after, err
	}
	for {
		page, err := from.Range(ctx, v.ID, after, stream.MaxPage)
		if errors.Is(err, stream.ErrNotFound) || err == nil && len(page.Entries) == 0 {
			return after, nil
		}
		if err != nil {
			return after, err
		}
		after = page.After
		for _, e := range page.Entries {
			if _, err := c.AppendVault(ctx, stream.Message{ID: e.ID, Body: e.Body}); err != nil {
				return after, err
			}
			after = e.Seq
		}
	}
}
