package chat

import (
	"context"
	"encoding/hex"
	"slices"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/e2ee"
)

// offersShelf holds the secrets of this device's KeyPackages, by their names.
var offersShelf = []byte("offers")

// offersNote is the note that says which there are.
const offersNote = "offers"

// offer is a KeyPackage of this device.
type offer struct {
	_       struct{} `cbor:",toarray"`
	Ref     []byte
	Bytes   []byte // kept until a concierge has it
	Last    bool   // the one of last resort
	Made    uint64 // ms
	Expires uint64 // ms
	At      []byte // the service that has it, empty: none yet
}

// maxOffers bounds them: those at the present concierge, and those given out
// whose Welcome may still come.
const maxOffers = 200

// maxLast bounds those of last resort: the present one, and those that a
// concierge gave out before it was left or forgot them.
const maxLast = 4

func (b *batch) offers() ([]offer, error) {
	raw, err := b.note(offersNote)
	if wire.CodeOf(err) == wire.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []offer
	if err := wire.Recall(raw, &list); err != nil {
		return nil, wire.Errorf(wire.Invalid, "database: the list of key packages is damaged: %w", err)
	}
	return list, nil
}

func (b *batch) setOffers(list []offer) { b.notes[offersNote] = wire.Encode(list) }

// offerSecret returns what opens a knock or Welcome for one of this device's
// KeyPackages, nil if it is none.
func (b *batch) offerSecret(ref []byte) []byte {
	for _, c := range b.keys {
		if string(c.Shelf) == string(offersShelf) && string(c.Key) == hex.EncodeToString(ref) && c.Value == nil {
			return nil // used in this batch
		}
	}
	v, err := b.a.secrets.Get(offersShelf, []byte(hex.EncodeToString(ref)))
	if wire.CodeOf(err) != wire.NotFound && err != nil {
		b.unread = unreadable(err)
	}
	return v
}

// spend deletes the secret of a KeyPackage that was used, unless it is the one of
// last resort, which others may be using now.
func (b *batch) spend(ref []byte) {
	list, err := b.offers()
	if err != nil {
		b.a.log.Error("read key packages", "error", err)
		return
	}
	rest := list[:0:0]
	for _, o := range list {
		if string(o.Ref) == string(ref) && !o.Last {
			b.keys = append(b.keys, deleteOffer(ref))
			continue
		}
		rest = append(rest, o)
	}
	b.setOffers(rest)
	b.say(b.a.hurrySelf)
}

func deleteOffer(ref []byte) ratchet.Change {
	return ratchet.Change{Shelf: offersShelf, Key: []byte(hex.EncodeToString(ref))}
}

// stock keeps enough KeyPackages at the concierge. Secrets are on disk before a
// package leaves.
func (a *Agent) stock(ctx context.Context, c *concierge.Client, service []byte) error {
	count, err := c.CountPackages(ctx)
	if err != nil {
		return err
	}
	var upload []offer
	var last *offer
	err = a.change(ctx, func(b *batch) error {
		upload, last = nil, nil
		return b.restock(service, count, &upload, &last)
	})
	if err != nil || len(upload) == 0 && last == nil {
		return err
	}
	once := make([][]byte, 0, len(upload))
	for _, o := range upload {
		once = append(once, o.Bytes)
	}
	var final []byte
	if last != nil {
		final = last.Bytes
	}
	if _, err := c.UploadPackages(ctx, once, final); err != nil {
		return err
	}
	return a.change(ctx, func(b *batch) error { return b.stocked(service, upload, last) })
}

// restock decides what is to be uploaded, making what is missing.
func (b *batch) restock(service []byte, count concierge.PackageCount, upload *[]offer, last **offer) error {
	list, err := b.offers()
	if err != nil {
		return err
	}
	var keep []offer
	for _, o := range list {
		if o.Expires <= b.now {
			b.keys = append(b.keys, deleteOffer(o.Ref))
			continue
		}
		keep = append(keep, o)
	}
	there := false
	waiting := int(count.Uploaded - min(count.Given, count.Uploaded))
	for i, o := range keep {
		switch {
		case o.Last && string(o.At) == string(service) && count.Last && o.Made+ms(offerLife)/3 > b.now:
			there = true // and fresh
		case o.Last && len(o.At) == 0 && len(o.Bytes) > 0 && o.Made+ms(offerLife)/3 > b.now:
			*last = &keep[i] // made, and not known to have arrived
		case !o.Last && len(o.At) == 0:
			*upload = append(*upload, o) // made, and not known to have arrived
		}
	}
	switch {
	case there:
		*last = nil
	case *last == nil:
		o, err := b.newOffer(true)
		if err != nil {
			return err
		}
		keep = append(b.fewerLast(keep), o)
		*last = &o
	default:
		o := **last // keep grows below
		*last = &o
	}
	for waiting+len(*upload) < offerCount && len(keep) < maxOffers {
		o, err := b.newOffer(false)
		if err != nil {
			return err
		}
		keep = append(keep, o)
		*upload = append(*upload, o)
	}
	b.setOffers(keep)
	return nil
}

// fewerLast makes room for another package of last resort: those that were made
// first go.
func (b *batch) fewerLast(list []offer) []offer {
	n := 0
	for _, o := range list {
		if o.Last {
			n++
		}
	}
	return slices.DeleteFunc(list, func(o offer) bool {
		if !o.Last || n < maxLast {
			return false
		}
		n--
		b.keys = append(b.keys, deleteOffer(o.Ref))
		return true
	})
}

func (b *batch) newOffer(last bool) (offer, error) {
	a := b.a
	o, secret, err := e2ee.NewOffer(a.o.Rand, a.o.Now(), a.o.Keys.Device, a.member(), offerLife)
	if err != nil {
		return offer{}, err
	}
	b.keys = append(b.keys, ratchet.Change{Shelf: offersShelf, Key: []byte(hex.EncodeToString(o.Ref())), Value: secret})
	return offer{Ref: o.Ref(), Bytes: o.Bytes(), Last: last, Made: b.now, Expires: uint64(o.Expires().UnixMilli())}, nil
}

// stocked takes note of where packages are.
func (b *batch) stocked(service []byte, upload []offer, last *offer) error {
	list, err := b.offers()
	if err != nil {
		return err
	}
	for i := range list {
		for _, o := range upload {
			if string(o.Ref) == string(list[i].Ref) {
				list[i].At, list[i].Bytes = service, nil
			}
		}
		if last != nil && string(last.Ref) == string(list[i].Ref) {
			list[i].At, list[i].Bytes = service, nil
		}
	}
	b.setOffers(list)
	return nil
}
