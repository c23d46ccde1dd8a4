package namescript

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

// actor is somebody in a script, with keys that grow from the name.
type actor struct {
	name    string
	genesis namesvc.Genesis
	id      namesvc.AccountID
	keys    []string // names of keys that have been used, to tell them apart again
}

// seed grows 32 bytes from names.
func seed(names ...string) [32]byte {
	return sha256.Sum256([]byte("confab name script\n" + strings.Join(names, "\n")))
}

func (a *actor) root(name string) key.Root {
	a.use(name)
	return key.RootFromSeed(seed(a.name, name))
}

func (a *actor) device(name string) key.Device {
	a.use(name)
	return key.DeviceFromSeed(seed(a.name, name))
}

func (a *actor) server(name string) key.Server { return key.ServerFromSeed(seed(a.name, name)) }

func (a *actor) use(name string) {
	for _, k := range a.keys {
		if k == name {
			return
		}
	}
	a.keys = append(a.keys, name)
}

// public returns the public key of this name; root, device and server keys of
// one name are one key.
func (a *actor) public(name string) key.Public { return a.root(name).Public() }

// nameOf returns the name of one of the actor's keys.
func (a *actor) nameOf(p key.Public) string {
	for _, name := range a.keys {
		if a.public(name) == p {
			return name
		}
	}
	return "unknown"
}

// nextName returns the name of the key behind a next-root hash.
func (a *actor) nextName(hash []byte) string {
	if len(hash) == 0 {
		return "none"
	}
	for _, name := range a.keys {
		if h := a.public(name).NextHash(); bytes.Equal(h[:], hash) {
			return name
		}
	}
	return "unknown"
}

var kinds = map[string]namesvc.Kind{
	"person": namesvc.Person, "organisation": namesvc.Organisation, "service": namesvc.Service,
}

// actor runs an actor line.
func (r *Runner) actor(l Line) error {
	kind, ok := kinds[l.Args[1]]
	if !ok {
		return fmt.Errorf("%q is no kind of account", l.Args[1])
	}
	if r.actors[l.Args[0]] != nil {
		return fmt.Errorf("%s is on stage already", l.Args[0])
	}
	a, err := newActor(l.Args[0], kind, l.get("roots", "r0,r1"), l.get("next", "n1"))
	if err != nil {
		return err
	}
	r.actors[a.name], r.byID[a.id] = a, a
	return nil
}

// newActor returns somebody with these root keys and this announced one.
func newActor(name string, kind namesvc.Kind, roots, next string) (*actor, error) {
	a := &actor{name: name}
	var keys []key.Public
	for _, name := range strings.Split(roots, ",") {
		keys = append(keys, a.public(name))
	}
	var announced [32]byte
	if next != "none" {
		announced = a.public(next).NextHash()
	}
	salt := seed(a.name, "genesis")
	g, err := namesvc.NewGenesis(bytes.NewReader(salt[:]), kind, announced, keys...)
	if err != nil {
		return nil, err
	}
	a.genesis, a.id = g, g.Account()
	return a, nil
}

func (r *Runner) who(name string) (*actor, error) {
	a := r.actors[name]
	if a == nil {
		return nil, fmt.Errorf("%s is not on stage; add an actor line", name)
	}
	return a, nil
}

// signer returns the key that by= names: KEY of the actor, or ACTOR.KEY.
func (r *Runner) signer(a *actor, l Line) (namesvc.Signer, error) {
	name := l.get("by", "r0")
	if other, k, ok := strings.Cut(name, "."); ok {
		var err error
		if a, err = r.who(other); err != nil {
			return nil, err
		}
		name = k
	}
	return a.root(name), nil
}

// nameOf returns the name of the actor with this account.
func (r *Runner) nameOf(id namesvc.AccountID) string {
	if a := r.byID[id]; a != nil {
		return a.name
	}
	return id.String()[:8]
}
