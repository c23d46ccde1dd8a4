package chat

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// The vault is a copy of contacts and messages at the concierge, sealed under a
// key that grows from the phrase: whoever has lost every device restores the
// account from the phrase, and finds them again. The eldest device writes it, a
// little behind what happens. No session's secrets are in it: after a restore
// every conversation gets a new session.
//
//	entry = nonce 24 ‖ XChaCha20-Poly1305(vault key, padded record)
//
// Records are those by which devices tell each other what they have.

const (
	vaultKeyNote  = "vault key"
	vaultDoneNote = "vault restored"
	// vaultBatch is how many entries are written in one go.
	vaultBatch = 16
	// vaultPage is how many bytes of the vault are read at once.
	vaultPage = 512 << 10
	// vaultMost is how much of it is read, and vaultPages in how many pages at most:
	// four times what a concierge keeps by default. One that gives out more, or
	// gives it out drop by drop, would keep this device from everything else.
	vaultMost  = 256 << 20
	vaultPages = 2048
)

func vaultNote(id message.ConversationID) string { return "vault/" + id.String() }

// vaultGone begins the names of notes that say which contacts were removed and may
// still be in the vault.
const vaultGone = "vault gone/"

func vaultGoneNote(id message.ConversationID) string { return vaultGone + id.String() }

// saved says what of a conversation is in the vault.
type saved struct {
	_       struct{} `cbor:",toarray"`
	Contact [32]byte // hash of the record that is there
	Heads   []message.Reached
}

// vaultKey returns the account's vault key, zero if this device does not know it:
// it was linked, and has not been told yet.
func (a *Agent) vaultKey() (v key.Vault, err error) {
	if !a.o.Keys.Vault.IsZero() {
		return a.o.Keys.Vault, nil
	}
	err = a.store.View(func(tx *store.Tx) error {
		b, err := tx.Get(vaultKeyNote)
		if wire.CodeOf(err) == wire.NotFound {
			return nil
		}
		if err == nil && len(b) == len(v) {
			copy(v[:], b)
		}
		return err
	})
	return v, err
}

// Backup is the copy of contacts and messages at the concierge, which the
// recovery phrase opens.
type Backup struct {
	// State is none on a device that does not know the phrase's key, other if
	// another of the account's devices makes it, behind or complete.
	State string `json:"state"`
	// At is when it was complete last, zero if it was not since the agent runs.
	At      time.Time `json:"at,omitzero"`
	Trouble string    `json:"trouble,omitempty"` // why it is behind
}

// saveAfter gathers what is said in one go into few entries of the vault.
const saveAfter = 2 * time.Second

// keepVault keeps the vault up to date until ctx ends, beside everything else:
// however slow it is, nothing waits for it.
func (a *Agent) keepVault(ctx context.Context) {
	for {
		a.tendVault(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.o.Every):
		case <-a.vault:
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(saveAfter, a.o.Every)):
			}
		}
	}
}

// tendVault brings the vault up to date, if that is this device's part, and reads
// it if this device has just been restored from the phrase.
func (a *Agent) tendVault(ctx context.Context) {
	a.mu.Lock()
	upTo := a.changed
	a.mu.Unlock()
	state, err := a.vaulted(ctx)
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	b := Backup{State: state, At: a.backup.At}
	if err != nil {
		b.Trouble = err.Error()
	} else if state == backupComplete {
		a.copied, b.At = upTo, a.o.Now().UTC()
	}
	a.backup = b
	a.mu.Unlock()
	switch {
	case err == nil:
	case wire.CodeOf(err) == wire.Exhausted:
		a.once("vault full", Notice{Type: "notice", Text: "the copy of your conversations at the concierge is full: what is new is only on your devices"})
	default:
		a.log.Info("the copy of conversations at the concierge is brought up to date later", "error", err)
	}
}

// backupNow returns the state of the vault as it is now.
func (a *Agent) backupNow() Backup {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.backup
	if b.State == "" || b.State == backupComplete && a.copied != a.changed {
		b.State = backupBehind
	}
	return b
}

// The states of a backup.
const (
	backupNone     = "none"
	backupOther    = "other"
	backupBehind   = "behind"
	backupComplete = "complete"
)

// vaulted does this device's part of the vault, and returns what state it is in.
func (a *Agent) vaulted(ctx context.Context) (string, error) {
	k, err := a.vaultKey()
	if err != nil || k.IsZero() {
		return backupNone, err
	}
	office, err := a.present()
	if err != nil {
		return backupBehind, nil // not looked up yet, or none is chosen: the status says so itself
	}
	if err := a.restore(ctx, office, k); err != nil {
		return backupBehind, err
	}
	l, _ := a.roster.cached(a.o.Account)
	if all := l.members(); len(all) == 0 || all[0].Device != a.o.Keys.Device.Public() {
		return backupOther, nil
	}
	if err := a.saveGone(ctx, office, k); err != nil {
		return backupBehind, err
	}
	for _, id := range a.roomIDs() {
		if err := a.saveRoom(ctx, office, k, id); err != nil {
			return backupBehind, err
		}
	}
	return backupComplete, nil
}

// saveRoom appends what of a conversation is not in the vault yet.
func (a *Agent) saveRoom(ctx context.Context, office post.Office, k key.Vault, id message.ConversationID) error {
	a.mu.Lock()
	r, ok := a.rooms[id]
	a.mu.Unlock()
	if !ok || a.own(r) {
		return nil
	}
	var done saved
	var contact []byte
	err := a.store.View(func(tx *store.Tx) error {
		b, err := tx.Get(vaultNote(id))
		if err == nil {
			err = wire.Recall(b, &done)
		}
		if err != nil && wire.CodeOf(err) != wire.NotFound {
			return err
		}
		c, err := tx.Contact(r.With.Account)
		if wire.CodeOf(err) == wire.NotFound {
			return nil
		}
		contact = wire.Encode(record{Kind: recordContact, Body: wire.Encode(shared(c, r))})
		return err
	})
	if err != nil || contact == nil {
		return err
	}
	if hash := sha256.Sum256(contact); hash != done.Contact {
		if err := a.appendVault(ctx, office, k, contact); err != nil {
			return err
		}
		done.Contact = hash
		if err := a.noteSaved(id, done); err != nil {
			return err
		}
	}
	for {
		parts, err := a.history(id, historyAsk{With: r.With, Heads: done.Heads})
		if err != nil || len(parts) == 0 {
			return err
		}
		for _, p := range parts[:min(len(parts), vaultBatch)] {
			if err := a.appendVault(ctx, office, k, wire.Encode(record{Kind: recordEvents, Body: wire.Encode(p)})); err != nil {
				return err
			}
			if done.Heads, err = advance(done.Heads, p); err != nil {
				return err
			}
			if err := a.noteSaved(id, done); err != nil {
				return err
			}
		}
	}
}

// saveGone appends who is a contact no more, so that the phrase does not bring
// back who was removed.
func (a *Agent) saveGone(ctx context.Context, office post.Office, k key.Vault) error {
	var names []string
	err := a.store.View(func(tx *store.Tx) (err error) {
		names, err = tx.Names(vaultGone, "")
		return err
	})
	for _, name := range names {
		var gone []byte
		err := a.store.View(func(tx *store.Tx) (err error) {
			gone, err = tx.Get(name)
			return err
		})
		if err != nil {
			return err
		}
		if err := a.appendVault(ctx, office, k, wire.Encode(record{Kind: recordGone, Body: gone})); err != nil {
			return err
		}
		if err := a.store.Update(func(tx *store.Tx) error { return tx.Put(name, nil) }); err != nil {
			return err
		}
	}
	return err
}

// advance returns the heads after the events of a part.
func advance(heads []message.Reached, p historyEvents) ([]message.Reached, error) {
	at := map[message.Author]int{}
	for i, h := range heads {
		at[h.Author] = i
	}
	for _, raw := range p.Events {
		e, err := message.Decode(raw)
		if err != nil {
			return nil, err
		}
		i, ok := at[e.Author]
		if !ok {
			heads = append(heads, message.Reached{Author: e.Author})
			i = len(heads) - 1
			at[e.Author] = i
		}
		heads[i].Delivered = max(heads[i].Delivered, e.Seq)
	}
	return heads, nil
}

func (a *Agent) noteSaved(id message.ConversationID, s saved) error {
	return a.store.Update(func(tx *store.Tx) error { return tx.Put(vaultNote(id), wire.Encode(s)) })
}

// appendVault seals a record and appends it.
func (a *Agent) appendVault(ctx context.Context, office post.Office, k key.Vault, plain []byte) error {
	sealed, err := sealVault(a.o.Rand, k, plain)
	if err != nil {
		return err
	}
	id := sha256.Sum256(sealed)
	return a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		_, err := c.AppendVault(ctx, stream.Message{ID: stream.MessageID(id[:16]), Body: sealed})
		return err
	})
}

func sealVault(rand io.Reader, k key.Vault, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return nil, err
	}
	padded, err := message.Pad(plain)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(padded)+aead.Overhead())
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, padded, nil), nil
}

func openVault(k key.Vault, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, wire.Errorf(wire.Invalid, "an entry of the vault is too short")
	}
	padded, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return nil, wire.Errorf(wire.Unauthorized, "an entry of the vault is not sealed with this account's key")
	}
	return message.Unpad(padded)
}

// restore reads the vault, once: on a device that has the phrase's key and
// nothing else yet. Contacts are told of this device by a knock, since all
// sessions of before are lost.
func (a *Agent) restore(ctx context.Context, office post.Office, k key.Vault) error {
	var done bool
	err := a.store.View(func(tx *store.Tx) error {
		_, err := tx.Get(vaultDoneNote)
		if done = err == nil; done {
			return nil
		}
		done = len(a.otherDevices()) > 0 // which will tell
		return nil
	})
	if err != nil {
		return err
	}
	if !done {
		if err := a.readVault(ctx, office, k); err != nil {
			return err
		}
	}
	return a.store.Update(func(tx *store.Tx) error { return tx.Put(vaultDoneNote, []byte{1}) })
}

func (a *Agent) readVault(ctx context.Context, office post.Office, k key.Vault) error {
	var after uint64
	records, bad, size := 0, 0, 0
	for range vaultPages {
		var page stream.Page
		err := a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
			v, err := c.Vault(ctx)
			if err == nil {
				page, err = c.Range(ctx, v.ID, after, vaultPage)
			}
			return err
		})
		if wire.CodeOf(err) == wire.NotFound {
			return nil // nothing was ever put there
		}
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 || size > vaultMost {
			break
		}
		if page.Last() <= after {
			return wire.Errorf(wire.Invalid, "the concierge gives the same part of the vault again")
		}
		wrong := 0
		err = a.change(ctx, func(b *batch) error {
			wrong = 0
			for _, e := range page.Entries {
				plain, err := openVault(k, e.Body)
				if err == nil {
					err = b.restored(plain)
				}
				var ask *askError
				if errors.As(err, &ask) {
					return err
				}
				if err != nil {
					wrong++
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after, records, bad = page.Last(), records+len(page.Entries), bad+wrong
		for _, e := range page.Entries {
			size += len(e.Body)
		}
	}
	if records > 0 {
		a.feed.tell(Notice{Type: "notice", Text: "your contacts and messages were restored from the copy at your concierge"})
	}
	if bad > 0 {
		a.feed.tell(Notice{Type: "notice", Text: "some of the copy at your concierge was damaged and left out"})
	}
	a.hurryAll()
	return nil
}

// restored takes a record of the vault.
func (b *batch) restored(plain []byte) error {
	var rec record
	if err := wire.Decode(plain, &rec, len(plain)); err != nil {
		return err
	}
	switch rec.Kind {
	case recordContact:
		var s sharedContact
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return err
		}
		if err := b.syncContact(s); err != nil {
			return err
		}
		r, err := b.room(message.Direct(b.a.party(), s.Party))
		if err == nil && store.ContactState(s.State) == store.Accepted {
			r.Anew = true
		}
		return nil
	case recordGone:
		var s sharedGone
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return err
		}
		if err := b.syncGone(s); err != nil {
			return err
		}
		delete(b.notes, vaultGoneNote(message.Direct(b.a.party(), s.Party))) // the vault knows
	case recordEvents:
		var s historyEvents
		if err := wire.Decode(rec.Body, &s, len(rec.Body)); err != nil {
			return err
		}
		s.To = b.a.o.Keys.Device.Public()
		return b.syncEvents(s)
	}
	return nil
}
