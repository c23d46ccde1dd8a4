package chat

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// Linking a device. One that is there shows a code; the new one, told the handle
// and the code, leaves its key where only who has the code finds the place and
// can read it; the first one shows who asks, and on its owner's word signs the
// account's device list with the new key in it. Nothing else passes: once the
// chain lists the new device the others bring it into the conversations and tell
// it what was said.
//
// The code has 80 random bits, is good for ten minutes and once. Whoever gets it
// in that time can ask in the new device's place; that is why the owner compares
// the key that both show.

const (
	codeBytes = 10
	linkTime  = 10 * time.Minute
	// MaxDeviceName bounds what a new device calls itself.
	MaxDeviceName = 64
	// maxLinkBody bounds a request to be linked.
	maxLinkBody = 1024
	// deviceLife is how long a linked device is listed before it is to be extended.
	deviceLife = 365 * 24 * time.Hour
)

var codeAlphabet = base32.NewEncoding("ABCDEFGHJKMNPQRSTUVWXYZ234567890").WithPadding(base32.NoPadding)

// Invitation is what the device that is there shows.
type Invitation struct {
	Code  string    `json:"code"` // four groups of four characters
	Until time.Time `json:"until"`
}

// LinkRequest is a device that asks to be one of the account's.
type LinkRequest struct {
	Device key.Public `json:"device"`
	Name   string     `json:"name"` // its own words
}

// linkBody is what a new device leaves, sealed.
type linkBody struct {
	_       struct{} `cbor:",toarray"`
	Version uint8    // 1
	Device  key.Public
	Name    string
	Scopes  namesvc.Scopes
	Expires uint64
	Consent []byte // for the device sequence that the chain had
	Seq     uint64
}

// linkSecrets grow from a code.
func linkSecrets(code string, account namesvc.AccountID) (seed concierge.Seed, k [32]byte, err error) {
	raw, err := codeAlphabet.DecodeString(strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code)))
	if err != nil || len(raw) != codeBytes {
		return seed, k, wire.Errorf(wire.Invalid, "the code has four groups of four letters and digits")
	}
	for purpose, out := range map[string][]byte{"place": seed[:], "seal": k[:]} {
		b, err := hkdf.Key(sha256.New, raw, account[:], "confab/link/1 "+purpose, 32)
		if err != nil {
			return seed, k, err
		}
		copy(out, b)
	}
	return seed, k, nil
}

// linking is an invitation that is out.
type linking struct {
	box      stream.ID
	key      [32]byte
	until    uint64
	requests []linkBody
}

// Link makes an invitation for a new device; one that was out before is void.
// Requests come as notices of type "link".
func (a *Agent) Link(ctx context.Context) (Invitation, error) {
	raw := make([]byte, codeBytes)
	if _, err := io.ReadFull(a.o.Rand, raw); err != nil {
		return Invitation{}, err
	}
	text := codeAlphabet.EncodeToString(raw)
	code := strings.Join([]string{text[:4], text[4:8], text[8:12], text[12:]}, "-")
	seed, k, err := linkSecrets(code, a.o.Account)
	if err != nil {
		return Invitation{}, err
	}
	office, err := a.present()
	if err != nil {
		return Invitation{}, fmt.Errorf("link a device: %w", err)
	}
	err = a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		_, err := c.CreateQueue(ctx, seed, stream.Settings{MaxEntries: 8, MaxBytes: 8 * maxLinkBody, TTL: linkTime})
		return err
	})
	if err != nil {
		return Invitation{}, fmt.Errorf("link a device: %w", err)
	}
	p := a.party()
	box := concierge.OwnerOf(p.Account, p.Generation).Address(seed).Queue()
	until := a.o.Now().Add(linkTime)
	a.mu.Lock()
	old := a.linking
	a.linking = &linking{box: box, key: k, until: uint64(until.UnixMilli())}
	if a.offices.now != nil {
		a.offices.now.boxes.Add(box, 0)
	}
	a.mu.Unlock()
	if old != nil {
		a.endLink(ctx, old)
	}
	return Invitation{Code: code, Until: until.UTC()}, nil
}

// endLink lets go of an invitation.
func (a *Agent) endLink(ctx context.Context, l *linking) {
	a.mu.Lock()
	if a.linking == l {
		a.linking = nil
	}
	if a.offices.now != nil {
		a.offices.now.boxes.Remove(l.box)
	}
	a.mu.Unlock()
	a.deleteQueue(ctx, l.box)
}

// linkEntry takes what a new device left; a.mu is held.
func (a *Agent) linkEntry(body []byte) {
	l := a.linking
	if l == nil || l.until < a.now() || len(body) > maxLinkBody || len(l.requests) >= 8 {
		return
	}
	req, err := openLink(l.key, body)
	if err != nil {
		a.log.Debug("dropped what is no request to be linked", "error", err)
		return
	}
	if slices.ContainsFunc(l.requests, func(r linkBody) bool { return r.Device == req.Device }) {
		return
	}
	l.requests = append(l.requests, req)
	a.feed.tell(Notice{Type: "link", Text: fmt.Sprintf("%s asks to be one of your devices; its key begins with %.16s", message.Display(req.Name), req.Device)})
}

// LinkRequests returns the devices that ask to be linked.
func (a *Agent) LinkRequests(context.Context) ([]LinkRequest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []LinkRequest{}
	if a.linking != nil {
		for _, r := range a.linking.requests {
			out = append(out, LinkRequest{Device: r.Device, Name: message.Display(r.Name)})
		}
	}
	return out, nil
}

// LinkAccept makes a device that asks one of the account's. root is the key that
// signs: nil for the lower root key that is kept on this machine.
func (a *Agent) LinkAccept(ctx context.Context, device key.Public, root namesvc.Signer, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	a.mu.Lock()
	l := a.linking
	var req *linkBody
	if l != nil {
		if i := slices.IndexFunc(l.requests, func(r linkBody) bool { return r.Device == device }); i >= 0 {
			req = &l.requests[i]
		}
	}
	a.mu.Unlock()
	if req == nil {
		return wire.Errorf(wire.NotFound, "link a device: no such device asks now")
	}
	signer, err := a.rootSigner(ctx, root)
	if err != nil {
		return fmt.Errorf("link a device: %w", err)
	}
	err = a.changeDevices(ctx, signer, progress, func(d namesvc.Devices, list []namesvc.Grant) ([]namesvc.Grant, error) {
		if _, there := d.Find(req.Device); there {
			return list, nil
		}
		if d.Seq != req.Seq {
			return nil, wire.Errorf(wire.Stale, "the account's devices changed meanwhile: ask again with a new code")
		}
		return append(list, namesvc.Grant{Key: req.Device, Scopes: req.Scopes, Expires: req.Expires, Consent: req.Consent}), nil
	})
	if err != nil {
		return fmt.Errorf("link a device: %w", err)
	}
	a.endLink(ctx, l)
	return nil
}

// RemoveDevice takes a device off the account's list: it gets nothing more, and
// every conversation goes on without it. This device can remove itself without a
// root key.
func (a *Agent) RemoveDevice(ctx context.Context, device key.Public, root namesvc.Signer, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	var signer namesvc.Signer = a.o.Keys.Device
	if device != a.o.Keys.Device.Public() {
		var err error
		if signer, err = a.rootSigner(ctx, root); err != nil {
			return fmt.Errorf("remove a device: %w", err)
		}
	}
	err := a.changeDevices(ctx, signer, progress, func(d namesvc.Devices, list []namesvc.Grant) ([]namesvc.Grant, error) {
		rest := slices.DeleteFunc(list, func(g namesvc.Grant) bool { return g.Key == device })
		if len(rest) == len(d.List) {
			return nil, wire.Errorf(wire.NotFound, "the account does not list it")
		}
		return rest, nil
	})
	if err != nil {
		return fmt.Errorf("remove a device: %w", err)
	}
	return nil
}

// rootSigner returns what signs a device list.
func (a *Agent) rootSigner(ctx context.Context, root namesvc.Signer) (namesvc.Signer, error) {
	if root != nil {
		return root, nil
	}
	if k := a.o.Keys.Root; k != nil {
		l, err := a.roster.ask(ctx, a.o.Account, listedAge)
		if err != nil {
			return nil, err
		}
		if slices.Contains(l.entry.Roots, k.Public()) {
			return *k, nil
		}
	}
	return nil, wire.Errorf(wire.Unauthorized, "this takes a root key, and none is kept on this machine: use the recovery phrase with confab handle devices")
}

func (a *Agent) changeDevices(ctx context.Context, signer namesvc.Signer, progress func(string), f func(namesvc.Devices, []namesvc.Grant) ([]namesvc.Grant, error)) error {
	names := agent.Names{Client: a.o.Client, Rand: a.o.Rand}
	_, err := names.Change(ctx, a.o.Account, signer, namesvc.OpDevices, func(_ namesvc.Entry, d namesvc.Devices, _ string) (any, error) {
		list, err := f(d, agent.Grants(d))
		return namesvc.DeviceList{Devices: list}, err
	}, func(p agent.Progress) {
		if p.Step == agent.Done {
			progress(fmt.Sprintf("proven at height %d", p.Height))
		}
	})
	if err != nil {
		return err
	}
	if _, err := a.roster.ask(ctx, a.o.Account, 0); err != nil {
		return err
	}
	a.hurryAll()
	return nil
}

// Joining is what a new device needs to ask to be linked.
type Joining struct {
	Client  *lightclient.Client
	Account namesvc.AccountID
	Code    string
	Device  key.Device
	Name    string // what the device calls itself, a line
	Now     func() time.Time
	Rand    io.Reader
}

// AskToJoin leaves a request to be linked at the account's concierge. The caller
// then waits until the chain lists the device, and opens an Agent.
func AskToJoin(ctx context.Context, j Joining) error {
	if err := message.CheckLine(j.Name, MaxDeviceName); err != nil {
		return wire.Errorf(wire.Invalid, "ask to be linked: the device's name: %w", err)
	}
	seed, k, err := linkSecrets(j.Code, j.Account)
	if err != nil {
		return fmt.Errorf("ask to be linked: %w", err)
	}
	e, d, _, err := j.Client.Devices(ctx, j.Account, 0)
	if err != nil {
		return fmt.Errorf("ask to be linked: %w", err)
	}
	grant := agent.Join(j.Client.Pin().ChainID, d, agent.Member{Device: j.Device, Scopes: namesvc.AllScopes, Expires: j.Now().Add(deviceLife)})
	body, err := sealLink(j.Rand, k, linkBody{
		Version: 1, Device: grant.Key, Name: j.Name, Scopes: grant.Scopes, Expires: grant.Expires, Consent: grant.Consent, Seq: d.Seq,
	})
	if err != nil {
		return fmt.Errorf("ask to be linked: %w", err)
	}
	p := post.New(post.Options{
		Names: j.Client, Self: concierge.Identity{Account: namesvc.AccountID{}, Device: j.Device}, Home: j.Account, Now: j.Now, Rand: j.Rand,
	})
	defer p.Close()
	to := message.Party{Account: j.Account, Generation: e.Generation}
	id := sha256.Sum256(body)
	_, err = p.Deliver(ctx, to, concierge.OwnerOf(to.Account, to.Generation).Address(seed),
		[]stream.Message{{ID: stream.MessageID(id[:16]), Body: body}})
	if wire.CodeOf(err) == wire.NotFound {
		return wire.Errorf(wire.NotFound, "ask to be linked: no device waits under this code: it is mistyped, was used or is older than %v", linkTime)
	}
	if err != nil {
		return fmt.Errorf("ask to be linked: %w", err)
	}
	return nil
}

func sealLink(rand io.Reader, k [32]byte, b linkBody) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+maxLinkBody)
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, err
	}
	plain, err := message.Pad(wire.Encode(b))
	if err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, plain, nil), nil
}

func openLink(k [32]byte, sealed []byte) (b linkBody, err error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return b, err
	}
	if len(sealed) < aead.NonceSize() {
		return b, wire.Errorf(wire.Invalid, "it is too short")
	}
	padded, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return b, wire.Errorf(wire.Unauthorized, "it is not sealed with this code")
	}
	plain, err := message.Unpad(padded)
	if err != nil {
		return b, err
	}
	if err := wire.Decode(plain, &b, maxLinkBody); err != nil {
		return b, err
	}
	if b.Version != 1 || message.CheckLine(b.Name, MaxDeviceName) != nil {
		return b, wire.Errorf(wire.Invalid, "it is of another version, or its name is not one")
	}
	return b, nil
}
