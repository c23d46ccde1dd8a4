package chat

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/message"
)

// A profile and a picture are public: the entry names them by their ids, and the
// account's concierge gives them out. What comes is compared with the id, so no
// concierge can show another one as its user's.

const (
	// profileAgain is when a profile that could not be had is asked for again at
	// first: its owner may leave it there a moment after the entry names it. The
	// pauses double up to profileLast.
	profileAgain = 10 * time.Second
	profileLast  = 3 * time.Hour
	// profileTime is how long one contact's profile and picture may take: half a MiB
	// over a poor line. A concierge that hands them out byte by byte would else keep
	// this device from the profiles of all others, and from leaving its own.
	profileTime = 2 * time.Minute
	// pieceSize is how much of a picture one note of the database takes.
	pieceSize = store.MaxNote
	maxPieces = (agent.MaxAvatar + pieceSize - 1) / pieceSize
)

// shownNote holds what an account says of itself, and pictureNote its picture.
func shownNote(id namesvc.AccountID) string { return "shown/" + id.String() }
func pictureNote(id namesvc.AccountID, n int) string {
	return "picture/" + id.String() + "/" + strconv.Itoa(n)
}

// A shown is what this device knows of how an account wants to be shown.
type shown struct {
	_       struct{} `cbor:",toarray"`
	Profile []byte   // the ids that this is of, as the entry has them
	Avatar  []byte
	Name    string
	About   string
	Picture uint32 // its bytes
}

// keepProfiles leaves the own profile at the concierge and fetches those of
// contacts, until ctx ends and beside everything else: it is never in a hurry.
func (a *Agent) keepProfiles(ctx context.Context) {
	tried := map[namesvc.AccountID]attempts{}
	for ctx.Err() == nil {
		if err := a.publish(ctx); err != nil && ctx.Err() == nil {
			a.log.Info("the own profile is left at the concierge later", "error", err)
		}
		var list []store.Contact
		err := a.store.View(func(tx *store.Tx) (err error) {
			list, err = tx.Contacts()
			return err
		})
		if err != nil {
			a.log.Error("read contacts", "error", err)
		}
		for _, c := range list {
			id := c.Party.Account
			was := tried[id]
			if c.State != store.Accepted || was.failed > 0 && !past(was.at, min(profileAgain<<was.failed, profileLast), a.now()) {
				continue
			}
			if err := a.learn(ctx, c.Party); err == nil {
				delete(tried, id)
			} else if ctx.Err() == nil {
				tried[id] = attempts{a.now(), min(was.failed+1, 10)}
				a.log.Debug("a profile cannot be had now", "account", id, "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-a.shows:
		case <-time.After(a.o.Every):
		}
	}
}

// attempts are those at a profile that cannot be had: when the last was, in ms,
// and how many failed.
type attempts struct {
	at     uint64
	failed int
}

// published says where a document of ours was left.
type published struct {
	_       struct{} `cbor:",toarray"`
	ID      []byte
	Service namesvc.AccountID
}

// publish leaves the documents that the own entry names at the own concierge, as
// far as they are on this device, and lets go of those that it does not name any
// more.
func (a *Agent) publish(ctx context.Context) error {
	l, err := a.roster.ask(ctx, a.o.Account, a.o.Every)
	if err != nil {
		return err
	}
	if a.o.Documents == "" || !l.lists(a.o.Keys.Device.Public()) {
		return nil
	}
	office, err := a.present()
	if err != nil {
		return nil // it is looked up soon, or none is chosen
	}
	return errors.Join(
		a.publishOne(ctx, office, "published/profile", l.entry.Records.Profile),
		a.publishOne(ctx, office, "published/avatar", l.entry.Records.Avatar),
	)
}

func (a *Agent) publishOne(ctx context.Context, office post.Office, note string, id []byte) error {
	var was published
	err := a.store.View(func(tx *store.Tx) error {
		b, err := tx.Get(note)
		if wire.CodeOf(err) == wire.NotFound {
			return nil
		}
		if err == nil {
			err = wire.Recall(b, &was)
		}
		return err
	})
	if err != nil || bytes.Equal(was.ID, id) && (len(id) == 0 || was.Service == office.Service.Account) {
		return err
	}
	var doc []byte
	if len(id) > 0 {
		doc, err = os.ReadFile(filepath.Join(a.o.Documents, hex.EncodeToString(id)))
		if errors.Is(err, fs.ErrNotExist) { // another device made it, and leaves it there
			if len(was.ID) == 0 || was.Service != office.Service.Account {
				return nil
			}
			id, err = nil, nil // the one before is let go of here all the same
		}
		if err != nil {
			return err
		}
	}
	err = a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		if len(was.ID) == len(chunk.ID{}) && !bytes.Equal(was.ID, id) && was.Service == office.Service.Account {
			if err := c.Unpin(ctx, chunk.ID(was.ID)); err != nil && wire.CodeOf(err) != wire.NotFound {
				return err
			}
		}
		if len(id) == 0 {
			return nil
		}
		u := concierge.Upload{ID: chunk.ID(id), Size: uint64(len(doc)), Keep: true}
		_, err := c.Upload(ctx, u, bytes.NewReader(doc))
		return err
	})
	if err != nil {
		return err
	}
	return a.store.Update(func(tx *store.Tx) error {
		return tx.Put(note, wire.Encode(published{ID: id, Service: office.Service.Account}))
	})
}

// learn fetches what a contact's entry names and this device does not know yet.
func (a *Agent) learn(ctx context.Context, who message.Party) error {
	l, ok := a.roster.cached(who.Account)
	if !ok || l.party() != who {
		return nil
	}
	known, err := a.shownOf(who.Account)
	if err != nil {
		return err
	}
	r := l.entry.Records
	if bytes.Equal(known.Profile, r.Profile) && bytes.Equal(known.Avatar, r.Avatar) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	now := shown{Profile: r.Profile, Avatar: r.Avatar}
	var picture []byte
	if len(r.Profile) > 0 {
		b, err := a.document(ctx, who, r.Profile, agent.MaxProfile)
		if err != nil {
			return err
		}
		p, err := agent.DecodeProfile(b, chunk.ID(r.Profile))
		if err != nil {
			return err
		}
		now.Name, now.About = p.Name, p.About
	}
	if len(r.Avatar) > 0 {
		if picture, err = a.document(ctx, who, r.Avatar, agent.MaxAvatar); err != nil {
			return err
		}
		now.Picture = uint32(len(picture))
	}
	err = a.store.Update(func(tx *store.Tx) error {
		c, err := tx.Contact(who.Account)
		if wire.CodeOf(err) == wire.NotFound || err == nil && c.Party != who {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		for n := 0; n*pieceSize < max(len(picture), int(known.Picture)); n++ {
			var piece []byte // nil deletes
			if at := n * pieceSize; at < len(picture) {
				piece = picture[at:min(at+pieceSize, len(picture))]
			}
			if err := tx.Put(pictureNote(who.Account, n), piece); err != nil {
				return err
			}
		}
		return tx.Put(shownNote(who.Account), wire.Encode(now))
	})
	if err == nil {
		a.feed.tell(Notice{Type: "contact", Contact: who.Account, Text: "profile"})
	}
	return err
}

// document fetches a public document of an account from its concierge.
func (a *Agent) document(ctx context.Context, who message.Party, id []byte, most int) (doc []byte, err error) {
	err = a.post.Visit(ctx, who, func(ctx context.Context, c *concierge.Client) error {
		body, err := c.Media().Read(ctx, chunk.ID(id), 0)
		if err != nil {
			return err
		}
		defer body.Close()
		if doc, err = io.ReadAll(io.LimitReader(body, int64(most)+1)); err != nil {
			return wire.Errorf(wire.Unavailable, "read a profile: %w", err)
		}
		if len(doc) > most {
			return wire.Errorf(wire.Invalid, "a profile or picture has more than %d bytes", most)
		}
		if got, err := agent.DocumentID(doc); err != nil || got != chunk.ID(id) {
			return wire.Errorf(wire.Invalid, "the concierge gives out another profile or picture than the entry names")
		}
		return nil
	})
	return doc, err
}

// shownOf returns what is known of how an account wants to be shown; nothing, if
// nothing is.
func (a *Agent) shownOf(id namesvc.AccountID) (s shown, err error) {
	return s, a.store.View(func(tx *store.Tx) error {
		s, err = recallShown(tx, id)
		return err
	})
}

func recallShown(tx *store.Tx, id namesvc.AccountID) (s shown, err error) {
	b, err := tx.Get(shownNote(id))
	if wire.CodeOf(err) == wire.NotFound {
		return s, nil
	}
	if err == nil {
		err = wire.Recall(b, &s)
	}
	return s, err
}

// Avatar writes the picture of a contact, as it was published. What it is shows in
// its first bytes; nothing vouches for that. The error is of kind NotFound if there
// is none, or it has not come yet.
func (a *Agent) Avatar(_ context.Context, who string, w io.Writer) error {
	c, err := a.find(who)
	if err != nil {
		return fmt.Errorf("avatar: %w", err)
	}
	var picture []byte
	err = a.store.View(func(tx *store.Tx) error {
		s, err := recallShown(tx, c.Party.Account)
		if err != nil {
			return err
		}
		if s.Picture == 0 {
			return wire.Errorf(wire.NotFound, "avatar: %s has none, or it has not come yet", who)
		}
		for n := 0; n*pieceSize < int(s.Picture); n++ {
			piece, err := tx.Get(pictureNote(c.Party.Account, n))
			if err != nil {
				return err
			}
			picture = append(picture, piece...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = w.Write(picture)
	return err
}
