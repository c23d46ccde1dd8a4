package chat

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/talk/e2ee"
)

// selfDue reports whether the own account is to be looked after now, and takes
// that: selfDone ends it.
func (a *Agent) selfDue() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.selfBusy || a.selfNext > now && a.selfNext <= now+ms(a.o.Every) {
		return false
	}
	a.selfNext, a.selfBusy = now+ms(a.o.Every), true
	return true
}

func (a *Agent) selfDone() {
	a.mu.Lock()
	a.selfBusy = false
	a.mu.Unlock()
	wake(a.tend)
}

// hurrySelf has the own account looked after at once.
func (a *Agent) hurrySelf() {
	a.mu.Lock()
	a.selfNext = 0
	a.mu.Unlock()
	wake(a.tend)
}

// tendSelf looks after the own account and its concierge.
func (a *Agent) tendSelf(ctx context.Context) {
	l, err := a.roster.ask(ctx, a.o.Account, a.o.Every)
	if err == nil {
		if err := a.keepSelf(l); err != nil {
			a.log.Error("keep what the chain says of this account", "error", err)
		}
	}
	if err != nil {
		a.log.Info("the chain does not answer; what was known is used", "error", err)
	} else if !l.lists(a.o.Keys.Device.Public()) {
		a.once("removed", Notice{Type: "notice", Text: "this device is not one of the account's: it can read what is here and nothing new"})
		return
	}
	if err := a.settleOffice(ctx); err != nil && ctx.Err() == nil {
		a.log.Info("the concierge cannot be looked up now", "error", err)
	}
	office, err := a.present()
	if err != nil {
		return
	}
	if a.backupNow().State == backupBehind {
		wake(a.vault)
	}
	err = a.post.Ask(ctx, office, func(ctx context.Context, c *concierge.Client) error {
		return a.stock(ctx, c, office.Service.Account[:])
	})
	if err != nil && ctx.Err() == nil {
		a.log.Info("key packages cannot be left at the concierge now", "error", err)
	}
	a.tendDevices(ctx, l)
	a.leaveFormer(ctx)
	a.sweep(ctx)
}

// sweep lets go of what is over: ids of mail that nobody can bring any more, and
// an invitation to link a device.
func (a *Agent) sweep(ctx context.Context) {
	now := a.now()
	a.mu.Lock()
	l, due := a.linking, past(a.swept, 24*time.Hour, now)
	if due {
		a.swept = now
	}
	a.mu.Unlock()
	if l != nil && past(l.until-ms(linkTime), linkTime, now) {
		a.endLink(ctx, l)
	}
	if !due || now < ms(seenFor) {
		return
	}
	if err := a.store.Update(func(tx *store.Tx) error { return tx.ForgetSeen(now - ms(seenFor)) }); err != nil {
		a.log.Error("forget ids of old mail", "error", err)
	}
	if err := a.sweepNotes(); err != nil {
		a.log.Error("forget notes of what is gone", "error", err)
	}
}

// sweepNotes forgets notes about devices that the account lists no more, and about
// rooms that are no more.
func (a *Agent) sweepNotes() error {
	a.mu.Lock()
	defer a.mu.Unlock() // so that no room begins meanwhile
	keep := map[string]bool{}
	for _, m := range a.otherDevices() {
		keep[introducedNote(m)] = true
	}
	rooms := map[string]bool{}
	for id := range a.rooms {
		rooms[id.String()] = true
	}
	var gone []string
	err := a.store.View(func(tx *store.Tx) error {
		for _, prefix := range []string{introducedPrefix, "receipt/", "vault/", "unheard/", "ahead/", "early/", "piece/"} {
			for after := prefix; ; {
				list, err := tx.Names(prefix, after)
				if err != nil {
					return err
				}
				if len(list) == 0 {
					break
				}
				after = list[len(list)-1]
				for _, name := range list {
					id, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "/")
					if !keep[name] && !rooms[id] {
						gone = append(gone, name)
					}
				}
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	return a.store.Update(func(tx *store.Tx) error {
		for _, name := range gone {
			if err := tx.Put(name, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// once tells a notice once while the agent runs.
func (a *Agent) once(key string, n Notice) {
	a.mu.Lock()
	told := a.told[key]
	a.told[key] = true
	a.mu.Unlock()
	if !told {
		a.feed.tell(n)
	}
}

// otherDevices returns the account's other devices.
func (a *Agent) otherDevices() []e2ee.Member {
	l, _ := a.roster.cached(a.o.Account)
	return slices.DeleteFunc(l.members(), func(m e2ee.Member) bool { return m.Device == a.o.Keys.Device.Public() })
}
