package concierge

import (
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/frame"
)

// TagServer: a concierge proves, to one client on one connection, that it holds
// the server key of its name entry.
const TagServer wire.Tag = "confab/concierge-server/1\n"

// handshakeVersion is the version of the handshake; a changed one gets a new tag
// too.
const handshakeVersion = 1

// A Service is what a client knows of a concierge from its name entry.
type Service struct {
	Chain      string
	Account    namesvc.AccountID
	Generation uint32
	Key        key.Public
}

// ServiceOf returns what an entry says of a concierge. The error is of kind
// Invalid if it is none.
func ServiceOf(chain string, e namesvc.Entry) (Service, error) {
	if e.Records.Service == nil || e.Records.Service.Roles&namesvc.RoleConcierge == 0 {
		return Service{}, wire.Errorf(wire.Invalid, "account %v is no concierge", e.Account)
	}
	return Service{Chain: chain, Account: e.Account, Generation: e.Generation, Key: e.Records.Service.Key}, nil
}

// An Identity is who a client is: a device of an account.
type Identity struct {
	Account namesvc.AccountID
	Device  key.Device
}

// The messages of a handshake, in their order.
type (
	opening struct {
		_       struct{} `cbor:",toarray"`
		Version uint64
		Nonce   [32]byte
	}
	proof struct {
		_          struct{} `cbor:",toarray"`
		Version    uint64
		Chain      string
		Service    namesvc.AccountID
		Generation uint32
		Nonce      [32]byte
		Signature  [64]byte
	}
	introduction struct { // all empty: a guest, who says nothing of himself
		_         struct{} `cbor:",toarray"`
		Account   []byte
		Device    []byte
		Signature []byte
	}
	verdict struct { // code 0: come in
		_    struct{} `cbor:",toarray"`
		Code wire.Code
		Text string
	}
)

// transcript is what both sides sign: everything that was said before, and the
// secret that only the two ends of this TLS connection share.
type transcript struct {
	_          struct{} `cbor:",toarray"`
	Chain      string
	Service    namesvc.AccountID
	Generation uint32
	Client     [32]byte
	Server     [32]byte
	Binding    []byte
}

// request is what a device signs (wire.TagRequest). The words at its beginning
// keep it apart from other requests that a device may sign.
func (t transcript) request(server key.Public, account namesvc.AccountID, device key.Public) []byte {
	return wire.Encode(struct {
		_          struct{} `cbor:",toarray"`
		Purpose    string
		Transcript transcript
		Server     key.Public
		Account    namesvc.AccountID
		Device     key.Public
	}{Purpose: "concierge session", Transcript: t, Server: server, Account: account, Device: device})
}

// signer signs as a service. The private key is made once of its seed.
type signer struct{ secret ed25519.PrivateKey }

func newSigner(k key.Server) signer {
	seed := k.Seed()
	return signer{ed25519.NewKeyFromSeed(seed[:])}
}

func (s signer) sign(tag wire.Tag, msg []byte) [64]byte {
	return [64]byte(ed25519.Sign(s.secret, tag.Message(msg)))
}

// String keeps the key out of logs.
func (signer) String() string { return "server key" }

// caller is a client as its handshake showed it: nobody, or a device that has
// proven its key and nothing else yet.
type caller struct {
	guest   bool
	account namesvc.AccountID
	device  key.Public
}

// receive reads one message of a handshake.
func receive(c frame.Conn, v any) error {
	b, err := c.ReadFrame(maxHandshake + maxText)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if err := wire.Decode(b, v, maxHandshake+maxText); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

func send(c frame.Conn, v any) error {
	if err := c.WriteFrames([][]byte{wire.Encode(v)}); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

// meet is the server's half of a handshake up to the verdict, which is given
// once the caller has been looked up. The server proves itself first: a client
// says who it is to nobody else.
func meet(c frame.Conn, me Service, s signer, binding []byte, rand io.Reader) (caller, error) {
	var o opening
	if err := receive(c, &o); err != nil {
		return caller{}, err
	}
	if o.Version != handshakeVersion {
		return caller{}, wire.Errorf(wire.Invalid, "handshake: client speaks version %d, server speaks %d: upgrade the older of the two", o.Version, handshakeVersion)
	}
	t := transcript{Chain: me.Chain, Service: me.Account, Generation: me.Generation, Client: o.Nonce, Binding: binding}
	if _, err := io.ReadFull(rand, t.Server[:]); err != nil {
		return caller{}, fmt.Errorf("handshake: read randomness: %w", err)
	}
	p := proof{
		Version: handshakeVersion, Chain: me.Chain, Service: me.Account, Generation: me.Generation,
		Nonce: t.Server, Signature: s.sign(TagServer, wire.Encode(t)),
	}
	if err := send(c, p); err != nil {
		return caller{}, err
	}
	var in introduction
	if err := receive(c, &in); err != nil {
		return caller{}, err
	}
	return in.check(t, me.Key)
}

func (in introduction) check(t transcript, server key.Public) (caller, error) {
	if len(in.Account) == 0 && len(in.Device) == 0 && len(in.Signature) == 0 {
		return caller{guest: true}, nil
	}
	if len(in.Account) != len(namesvc.AccountID{}) || len(in.Device) != key.PublicSize || len(in.Signature) != key.SignatureSize {
		return caller{}, wire.Errorf(wire.Invalid, "handshake: the introduction is malformed")
	}
	who := caller{account: namesvc.AccountID(in.Account), device: key.Public(in.Device)}
	err := key.Verify(who.device, wire.TagRequest, t.request(server, who.account, who.device), key.Signature(in.Signature))
	if err != nil {
		return caller{}, wire.Errorf(wire.Unauthorized, "handshake: the device does not prove its key (%w)", err)
	}
	return who, nil
}

// judge ends the server's half: err is nil if the client may come in.
func judge(c frame.Conn, err error) error {
	if err == nil {
		return send(c, verdict{})
	}
	code, text := wire.CodeOf(err), err.Error()
	if code == wire.Internal {
		text = "concierge has a fault; its operator finds it in the log"
	}
	send(c, verdict{Code: code, Text: text[:min(len(text), maxText)]})
	return err
}

// greet is the client's half. id is nil for a guest. It returns once the server
// has proven that it is want, and has let the client in.
func greet(c frame.Conn, want Service, id *Identity, binding []byte, rand io.Reader) error {
	t := transcript{Chain: want.Chain, Service: want.Account, Generation: want.Generation, Binding: binding}
	if _, err := io.ReadFull(rand, t.Client[:]); err != nil {
		return fmt.Errorf("handshake: read randomness: %w", err)
	}
	if err := send(c, opening{Version: handshakeVersion, Nonce: t.Client}); err != nil {
		return err
	}
	var p proof
	if err := receive(c, &p); err != nil {
		return err
	}
	if p.Version != handshakeVersion || p.Chain != want.Chain || p.Service != want.Account || p.Generation != want.Generation {
		return wire.Errorf(wire.Unauthorized, "handshake: another service answers, not %v of chain %s: resolve the concierge's handle again", want.Account, want.Chain)
	}
	t.Server = p.Nonce
	if err := key.Verify(want.Key, TagServer, wire.Encode(t), key.Signature(p.Signature)); err != nil {
		return wire.Errorf(wire.Unauthorized, "handshake: the server does not hold the key that its name entry gives, or somebody stands in between (%w): nothing was sent to it", err)
	}
	var in introduction
	if id != nil {
		device := id.Device.Public()
		sig := id.Device.SignRequest(t.request(want.Key, id.Account, device))
		in = introduction{Account: id.Account[:], Device: device[:], Signature: sig[:]}
	}
	if err := send(c, in); err != nil {
		return err
	}
	var v verdict
	if err := receive(c, &v); err != nil {
		return err
	}
	if v.Code != 0 {
		return wire.Errorf(v.Code, "concierge refuses: %s", lightclient.Printable(v.Text))
	}
	return nil
}
