package namescript

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
)

// records makes the records that a line's options say.
func (r *Runner) records(a *actor, l Line) (namesvc.Records, error) {
	rec := namesvc.Records{
		Profile: contentHash(l.get("profile", "")), Avatar: contentHash(l.get("avatar", "")),
		AlsoKnownAs: l.all("aka"),
	}
	for _, spec := range l.all("concierge") {
		c, err := r.concierge(a, spec)
		if err != nil {
			return rec, err
		}
		rec.Concierges = append(rec.Concierges, c)
	}
	role, urls, peers := l.get("role", ""), l.all("url"), l.all("peer")
	if role == "" && len(urls) == 0 && len(peers) == 0 {
		return rec, nil
	}
	rec.Service = &namesvc.Endpoint{URLs: urls, Peers: peers, Consent: l.has("consent"), Key: a.public(l.get("key", "server"))}
	if role == "" {
		return rec, nil
	}
	var err error
	rec.Service.Roles, err = namesvc.ParseRoles(role)
	return rec, err
}

// contentHash is the hash of a document of which a script only says the name;
// "short" gives one that is too short.
func contentHash(name string) []byte {
	if name == "" {
		return nil
	}
	h := sha256.Sum256([]byte(name))
	if name == "short" {
		return h[:31]
	}
	return h[:]
}

// concierge reads ACTOR/accepted/accepted=OTHER/forged/priority=N/generation=N.
func (r *Runner) concierge(a *actor, spec string) (namesvc.Concierge, error) {
	parts := strings.Split(spec, "/")
	s, err := r.who(parts[0])
	if err != nil {
		return namesvc.Concierge{}, err
	}
	c := namesvc.Concierge{Account: s.id, Generation: 1}
	accept := func(user *actor, by key.Server) {
		sig := by.SignAcceptance(namesvc.Acceptance(r.params.Chain, user.id, 1, s.id, 1))
		c.Acceptance = sig[:]
	}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		switch name {
		case "accepted":
			user := a
			if value != "" {
				if user, err = r.who(value); err != nil {
					return c, err
				}
			}
			accept(user, s.server("server"))
		case "forged":
			accept(a, s.server("another"))
		case "priority", "generation":
			n, err := number(value)
			if err != nil {
				return c, err
			}
			if name == "priority" {
				c.Priority = uint8(n)
			} else {
				c.Generation = uint32(n)
			}
		default:
			return c, fmt.Errorf("a concierge has no %q", p)
		}
	}
	return c, nil
}

// deviceList makes the body of a devices line.
func (r *Runner) deviceList(a *actor, l Line) (namesvc.DeviceList, error) {
	var list namesvc.DeviceList
	known, err := r.devicesOf(a.id)
	if err != nil {
		return list, err
	}
	for _, spec := range l.Args[1:] {
		g, err := r.grant(a, known, spec)
		if err != nil {
			return list, err
		}
		list.Devices = append(list.Devices, g)
	}
	return list, nil
}

// ninety is how long a device lives if a script does not say.
const ninety = 90 * 86400

// grant reads NAME/SCOPES/DURATION/consent=none|other. A device that is known
// stays as it is where nothing else is said.
func (r *Runner) grant(a *actor, known namesvc.Devices, spec string) (namesvc.Grant, error) {
	parts := strings.Split(spec, "/")
	d := a.device(parts[0])
	g := namesvc.Grant{Key: d.Public(), Scopes: namesvc.AllScopes, Expires: r.now() + ninety}
	old, isKnown := known.Find(g.Key)
	if isKnown {
		g.Scopes, g.Expires = old.Scopes, old.Expires
	}
	consent := "own"
	if isKnown {
		consent = "none"
	}
	for _, p := range parts[1:] {
		if c, ok := strings.CutPrefix(p, "consent="); ok {
			consent = c
			continue
		}
		if p == "nothing" {
			g.Scopes = 0
			continue
		}
		if n, err := number(p); err == nil {
			g.Expires = r.now() + n
			continue
		}
		var err error
		if g.Scopes, err = namesvc.ParseScopes(p); err != nil {
			return g, err
		}
	}
	msg := namesvc.Consent(r.params.Chain, a.id, known.Seq+1, g.Key, g.Scopes, g.Expires)
	switch consent {
	case "own":
		sig := d.SignConsent(msg)
		g.Consent = sig[:]
	case "other":
		sig := a.device("another").SignConsent(msg)
		g.Consent = sig[:]
	case "none":
	default:
		return g, fmt.Errorf("consent=%s: want none or other", consent)
	}
	return g, nil
}

// rootList makes the body of a roots line.
func (r *Runner) rootList(a *actor, l Line) (namesvc.RootList, error) {
	var list namesvc.RootList
	for _, name := range l.Args[1:] {
		list.Roots = append(list.Roots, a.public(name))
	}
	switch name := l.get("next", ""); name {
	case "":
		e, err := r.entry(a.id)
		if err != nil || e == nil {
			return list, err
		}
		list.NextRoot = e.NextRoot
	case "none":
	case "short":
		list.NextRoot = make([]byte, 31)
	default:
		h := a.public(name).NextHash()
		list.NextRoot = h[:]
	}
	return list, nil
}

// deviceNames writes a device list the way scripts do.
func deviceNames(a *actor, list []namesvc.Device) string {
	var out []string
	for _, d := range list {
		s := a.nameOf(d.Key)
		if d.Scopes != namesvc.AllScopes {
			s += "/" + strings.ReplaceAll(d.Scopes.String(), ",", "+")
		}
		out = append(out, s)
	}
	return none(strings.Join(out, ","))
}

func rootNames(a *actor, list []key.Public) string {
	var out []string
	for _, k := range list {
		out = append(out, a.nameOf(k))
	}
	return strings.Join(out, ",")
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
