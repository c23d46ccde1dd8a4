package concierge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confab-chat/confab/concierge/blob"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/chunk"
)

const (
	// MaxPins is the most files that are kept for one account, those being
	// uploaded included: the list of them is one stream entry.
	MaxPins = 1024
	// keepPromise is how long an upload may take, with all its interruptions;
	// then its room is for others.
	keepPromise = 24 * time.Hour
)

// A Pin is a file that is kept for an account, or will be once it is uploaded.
// Its size counts from the beginning on.
type Pin struct {
	_     struct{} `cbor:",toarray"`
	ID    chunk.ID
	Size  uint64
	Until uint64 // Unix seconds; 0: for good, as part of the vault
	Begun uint64 // when the upload was promised, Unix seconds; 0: it is here
}

// counts reports whether a pin still takes room.
func (p Pin) counts(now time.Time) bool {
	t := uint64(now.Unix())
	return (p.Until == 0 || p.Until > t) && (p.Begun == 0 || p.Begun+uint64(keepPromise/time.Second) > t)
}

// pins is what is kept of an owner's files: one stream entry, replaced as a whole
// by compare-and-append, like his record.
type pins struct {
	_       struct{} `cbor:",toarray"`
	Version uint64   // 1
	List    []Pin
}

// used returns the bytes of the files that expire, and of those that do not.
func (p pins) used() (media, vault uint64) {
	for _, pin := range p.List {
		if pin.Until == 0 {
			vault += pin.Size
		} else {
			media += pin.Size
		}
	}
	return media, vault
}

func (p pins) find(id chunk.ID) int {
	return slices.IndexFunc(p.List, func(pin Pin) bool { return pin.ID == id })
}

// readPins returns an owner's pins as they were written last; none if he never
// had any.
func readPins(ctx context.Context, store stream.Log, o Owner) (pins, stream.Head, error) {
	p := pins{Version: 1}
	body, head, err := newest(ctx, store, o.kept(keptPins, nil))
	if errors.Is(err, stream.ErrNotFound) {
		return p, head, err
	}
	if err != nil {
		return p, head, err
	}
	if body != nil {
		if err := wire.Decode(body, &p, stream.MaxBody); err != nil {
			return p, head, fmt.Errorf("read the files of an owner: %w", err)
		}
	}
	if p.Version != 1 || len(p.List) > MaxPins {
		return p, head, fmt.Errorf("read the files of an owner: version %d with %d of them is none of ours", p.Version, len(p.List))
	}
	return p, head, nil
}

// changePins applies change to an owner's pins, without those whose time is over,
// until no other change comes between, and returns what they have become.
func (s *Server) changePins(ctx context.Context, o Owner, change func(*pins) error) (pins, error) {
	id := o.kept(keptPins, nil)
	for range maxTries {
		p, head, err := readPins(ctx, s.store, o)
		if errors.Is(err, stream.ErrNotFound) {
			if err := s.store.Configure(ctx, id, stream.Settings{}); err != nil {
				return p, err
			}
			continue
		}
		if err != nil {
			return p, err
		}
		before, now := wire.Encode(p), s.now()
		p.List = slices.DeleteFunc(p.List, func(pin Pin) bool { return !pin.counts(now) })
		if err := change(&p); err != nil {
			return p, err
		}
		after := wire.Encode(p)
		if bytes.Equal(before, after) {
			return p, nil
		}
		var moved *stream.HeadError
		_, err = replace(ctx, s.store, id, head, newMessageID(), after)
		if !errors.As(err, &moved) {
			return p, err
		}
	}
	return pins{}, errBusy
}

// promise makes room for a file, or keeps one that is there for longer.
func (s *Server) promise(ctx context.Context, o Owner, ask Pin) (Pin, error) {
	var want Pin
	_, err := s.changePins(ctx, o, func(p *pins) error {
		want = ask
		i := p.find(want.ID)
		if i >= 0 {
			have := p.List[i]
			if have.Size != want.Size {
				return wire.Errorf(wire.Invalid, "file %v has %d bytes, not %d", want.ID, have.Size, want.Size)
			}
			if have.Until == 0 || want.Until != 0 && want.Until < have.Until {
				want.Until = have.Until
			}
			if have.Begun == 0 {
				want.Begun = 0
			}
		} else {
			i = len(p.List)
			p.List = append(p.List, want)
		}
		p.List[i] = want
		media, vault := p.used()
		switch {
		case len(p.List) > MaxPins:
			return wire.Errorf(wire.Exhausted, "account has %d files here already: delete some, or put several into one", MaxPins)
		case want.Until != 0 && media > s.limits.MediaBytes:
			return wire.Errorf(wire.Exhausted, "account's files would have %d bytes, and %d are allowed: delete some, or wait until they expire", media, s.limits.MediaBytes)
		case want.Until == 0 && vault > s.limits.VaultMediaBytes:
			return wire.Errorf(wire.Exhausted, "files of the account's vault would have %d bytes, and %d are allowed", vault, s.limits.VaultMediaBytes)
		}
		return nil
	})
	return want, err
}

// arrived says whether a file is here. The error is of kind NotFound if its owner
// has let go of it meanwhile.
func (s *Server) arrived(ctx context.Context, o Owner, id chunk.ID, here bool) error {
	_, err := s.changePins(ctx, o, func(p *pins) error {
		i := p.find(id)
		switch {
		case i < 0:
			return errUnpinned
		case here:
			p.List[i].Begun = 0
		case p.List[i].Begun == 0: // the disk was restored from before it came
			p.List[i].Begun = uint64(s.now().Unix())
		}
		return nil
	})
	return err
}

// present returns an owner's pins, after it has noted which files are not here any
// more: the disk was restored without them. Such a file counts for a day, as one that
// is to be uploaded, and then no more. The owner is held.
func (s *Server) present(ctx context.Context, o Owner) (pins, error) {
	p, _, err := readPins(ctx, s.store, o)
	if errors.Is(err, stream.ErrNotFound) {
		return p, nil
	}
	if err != nil || !slices.ContainsFunc(p.List, s.lacks) {
		return p, err
	}
	return s.changePins(ctx, o, func(p *pins) error {
		for i := range p.List {
			if s.lacks(p.List[i]) {
				p.List[i].Begun = uint64(s.now().Unix())
			}
		}
		return nil
	})
}

// lacks reports whether a file is not here that should be.
func (s *Server) lacks(p Pin) bool { return p.Begun == 0 && !s.media.Has(p.ID) }

var errUnpinned error = wire.Errorf(wire.NotFound, "the account has let go of this file: upload it anew")

// unpin lets go of a file.
func (s *Server) unpin(ctx context.Context, o Owner, id chunk.ID) error {
	_, err := s.changePins(ctx, o, func(p *pins) error {
		p.List = slices.DeleteFunc(p.List, func(pin Pin) bool { return pin.ID == id })
		return nil
	})
	return err
}

// dropPromise gives back the room of an upload that failed, unless it is here.
func (s *Server) dropPromise(ctx context.Context, o Owner, id chunk.ID) error {
	_, err := s.changePins(ctx, o, func(p *pins) error {
		p.List = slices.DeleteFunc(p.List, func(pin Pin) bool { return pin.ID == id && pin.Begun != 0 })
		return nil
	})
	return err
}

// maxRead is how many pins a keeper remembers: some 10 MiB.
const maxRead = 1 << 17

// A keeper says whether an owner still pins something. It remembers lists that it
// has read: what they keep may be let go of at the next look; what they do not keep
// it reads anew, since it may have been pinned meanwhile.
type keeper struct {
	server *Server
	ctx    context.Context
	read   map[Owner]map[chunk.ID]bool
	count  int
}

func (s *Server) newKeeper(ctx context.Context) *keeper {
	return &keeper{server: s, ctx: ctx, read: map[Owner]map[chunk.ID]bool{}}
}

func (k *keeper) keeps(id chunk.ID, of blob.Owner) (bool, error) {
	o := Owner(of)
	if k.read[o][id] {
		return true, nil
	}
	p, _, err := readPins(k.ctx, k.server.store, o)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return false, err
	}
	if k.count > maxRead {
		clear(k.read)
		k.count = 0
	}
	mine, now := map[chunk.ID]bool{}, k.server.now()
	for _, pin := range p.List {
		mine[pin.ID] = pin.counts(now)
	}
	k.read[o] = mine
	k.count += len(p.List) + 1
	return mine[id], nil
}
