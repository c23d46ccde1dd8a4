package mls_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/thomas-vilte/mls-go/ciphersuite"
	"github.com/thomas-vilte/mls-go/credentials"
	mlsext "github.com/thomas-vilte/mls-go/extensions"
	"github.com/thomas-vilte/mls-go/framing"
	"github.com/thomas-vilte/mls-go/group"
	"github.com/thomas-vilte/mls-go/keypackages"

	"github.com/confab-chat/confab/talk/mls"
)

// goClient runs mls-go, over its group API.
type goClient struct {
	identity string
	suite    ciphersuite.CipherSuite
	cred     *credentials.CredentialWithKey
	signer   *ciphersuite.SignaturePrivateKey
	offers   []goOffer
	psks     map[string][]byte
}

type goOffer struct {
	pack    *keypackages.KeyPackage
	secrets *keypackages.KeyPackagePrivateKeys
}

func newGoClient(identity string, suite mls.CipherSuite) (*goClient, error) {
	cs := ciphersuite.CipherSuite(suite)
	cred, signer, err := credentials.GenerateCredentialWithKeyForCS([]byte(identity), cs)
	if err != nil {
		return nil, err
	}
	return &goClient{identity: identity, suite: cs, cred: cred, signer: signer, psks: map[string][]byte{}}, nil
}

func (c *goClient) kind() string { return "mls-go" }

func (c *goClient) keyPackage() (goOffer, error) {
	k, secrets, err := keypackages.Generate(c.cred, keypackages.CipherSuite(c.suite))
	return goOffer{k, secrets}, err
}

func (c *goClient) offer() ([]byte, error) {
	o, err := c.keyPackage()
	if err != nil {
		return nil, err
	}
	c.offers = append(c.offers, o)
	return (&framing.MLSMessage{KeyPackage: o.pack.Marshal()}).Marshal(), nil
}

func (c *goClient) create(groupID []byte) (member, error) {
	o, err := c.keyPackage()
	if err != nil {
		return nil, err
	}
	g, err := group.NewGroup(group.NewGroupID(groupID), c.suite, o.pack, o.secrets)
	if err != nil {
		return nil, err
	}
	return &goMember{c: c, g: g}, nil
}

func (c *goClient) join(welcome []byte) (member, error) {
	m, err := framing.UnmarshalMLSMessage(welcome)
	if err != nil {
		return nil, err
	}
	w, err := group.UnmarshalWelcome(m.Welcome)
	if err != nil {
		return nil, err
	}
	err = errors.New("no key package was offered")
	for _, o := range slices.Backward(c.offers) {
		var g *group.Group
		if g, err = group.JoinFromWelcome(w, o.pack, o.secrets, c.psks); err == nil {
			return &goMember{c: c, g: g}, nil
		}
	}
	return nil, err
}

func (c *goClient) joinExternal(groupInfo []byte, former *uint32) (member, []byte, error) {
	m, err := framing.UnmarshalMLSMessage(groupInfo)
	if err != nil {
		return nil, nil, err
	}
	gi, err := group.UnmarshalGroupInfo(m.GroupInfo)
	if err != nil {
		return nil, nil, err
	}
	g, staged, err := group.ExternalCommit(gi, c.suite, c.signer, c.signer.PublicKey(), (*group.LeafNodeIndex)(former), c.cred.Credential)
	if err != nil {
		return nil, nil, err
	}
	ac := staged.AuthenticatedContent()
	commit := framing.NewMLSMessagePublic(&framing.PublicMessage{Content: ac.Content, Auth: ac.Auth}).Marshal()
	return &goMember{c: c, g: g, untagged: true}, commit, nil
}

func (c *goClient) learn(id, psk []byte) error {
	c.psks[string(id)] = psk
	return nil
}

type goMember struct {
	c *goClient
	g *group.Group
	// untagged: joined from outside in this epoch, and so without its
	// confirmation tag (see TestMLSGo_ExternalJoinerHasNoConfirmationTag).
	untagged bool
}

func (m *goMember) state() (v view, err error) {
	exported, err := m.g.Export(exportLabel, []byte(exportContext), exportLength)
	if err != nil {
		return v, err
	}
	members := m.g.GetMembers()
	slices.SortFunc(members, func(a, b *group.Member) int { return int(a.LeafIndex) - int(b.LeafIndex) })
	var list []string
	for _, x := range members {
		list = append(list, memberString(uint32(x.LeafIndex), string(x.Credential.Identity)))
	}
	return view{m.g.Epoch().AsUint64(), hex.EncodeToString(m.g.EpochAuthenticator()), hex.EncodeToString(exported),
		strings.Join(list, " "), uint32(m.g.OwnLeafIndex())}, nil
}

func (m *goMember) stage(p proposal) (*group.Proposal, error) {
	switch p.kind {
	case proposeAdd:
		f, err := framing.UnmarshalMLSMessage(p.keyPackage)
		if err != nil {
			return nil, err
		}
		k, err := keypackages.UnmarshalKeyPackage(f.KeyPackage)
		if err != nil {
			return nil, err
		}
		return m.g.AddMember(k)
	case proposeRemove:
		return m.g.RemoveMember(group.LeafNodeIndex(p.leaf))
	case proposeUpdate:
		return m.g.SelfUpdate(m.c.signer)
	case proposePSK:
		q := group.NewPreSharedKeyProposal(1, p.pskID)
		q.PreSharedKey.PskID.Nonce = make([]byte, 32)
		rand.Read(q.PreSharedKey.PskID.Nonce)
		m.g.Proposals().AddProposal(q, m.g.OwnLeafIndex())
		return q, nil
	case proposeExtensions:
		var list []group.Extension
		for _, e := range p.extensions {
			list = append(list, group.Extension{Type: mlsext.ExtensionType(e.Type), Data: e.Data})
		}
		q := group.NewGroupContextExtensionsProposal(list)
		m.g.Proposals().AddProposal(q, m.g.OwnLeafIndex())
		return q, nil
	}
	return nil, fmt.Errorf("no proposal %q", p.kind)
}

// propose sends in the open always: mls-go has no other way.
func (m *goMember) propose(p proposal, _ bool) ([]byte, error) {
	m.learnPSKs()
	q, err := m.stage(p)
	if err != nil {
		return nil, err
	}
	return m.g.SignProposalAsPublicMessage(q, m.c.signer)
}

func (m *goMember) learnPSKs() {
	for id, psk := range m.c.psks {
		m.g.LoadPsk([]byte(id), psk)
	}
}

func (m *goMember) commit(list []proposal, open bool) (commit, welcome []byte, err error) {
	m.learnPSKs()
	for _, p := range list {
		if _, err := m.stage(p); err != nil {
			return nil, nil, err
		}
	}
	format := framing.WireFormatPrivateMessage
	if open {
		format = framing.WireFormatPublicMessage
	}
	staged, err := m.g.CommitWithFormat(m.c.signer, m.c.signer.PublicKey(), nil, format)
	if err != nil {
		return nil, nil, err
	}
	if commit, err = m.frame(staged, open); err != nil {
		return nil, nil, err
	}
	if err := m.g.MergeCommit(staged); err != nil {
		return nil, nil, err
	}
	m.untagged = false
	welcome, err = m.welcome(staged)
	return commit, welcome, err
}

func (m *goMember) frame(staged *group.StagedCommit, open bool) ([]byte, error) {
	ac := staged.AuthenticatedContent()
	if open {
		return framing.NewMLSMessagePublic(&framing.PublicMessage{
			Content: ac.Content, Auth: ac.Auth, MembershipTag: staged.MembershipTag(),
		}).Marshal(), nil
	}
	pm, err := framing.Encrypt(framing.EncryptParams{
		AuthContent: ac, SenderLeafIndex: uint32(m.g.OwnLeafIndex()), CipherSuite: m.c.suite,
		SenderDataSecret: m.g.EpochSecrets().SenderDataSecret, SecretTree: m.g.SecretTree(),
	})
	if err != nil {
		return nil, err
	}
	return framing.NewMLSMessagePrivate(pm).Marshal(), nil
}

func (m *goMember) welcome(staged *group.StagedCommit) ([]byte, error) {
	var added []*keypackages.KeyPackage
	for _, p := range staged.Proposals() {
		if p.Type == group.ProposalTypeAdd {
			added = append(added, p.Add.KeyPackage)
		}
	}
	if len(added) == 0 {
		return nil, nil
	}
	w, err := m.g.CreateWelcomeWithOpts(added, m.c.signer, group.WithJoinerSecret(staged.JoinerSecret()),
		group.WithPSKIDs(staged.PskIDs()), group.WithPSKSecret(staged.RawPskSecret()), group.WithStagedCommit(staged))
	if err != nil {
		return nil, err
	}
	return (&framing.MLSMessage{Welcome: w.Marshal()}).Marshal(), nil
}

func (m *goMember) encrypt(data []byte) ([]byte, error) {
	pm, err := m.g.SendMessage(data, m.c.signer)
	if err != nil {
		return nil, err
	}
	return framing.NewMLSMessagePrivate(pm).Marshal(), nil
}

func (m *goMember) receive(message []byte) ([]byte, error) {
	m.learnPSKs()
	f, err := framing.UnmarshalMLSMessage(message)
	if err != nil {
		return nil, err
	}
	epoch := m.g.Epoch()
	if p, ok := f.AsPublic(); ok {
		err = m.g.ProcessPublicMessage(p)
	} else if p, ok := f.AsPrivate(); ok && p.ContentType == framing.ContentTypeApplication {
		data, _, _, err := m.g.ReceiveApplicationMessage(p)
		return data, err
	} else if ok {
		err = m.g.ProcessPrivateMessage(p)
	} else {
		err = errors.New("not for a group")
	}
	m.untagged = m.untagged && m.g.Epoch() == epoch
	return nil, err
}

func (m *goMember) groupInfo() ([]byte, error) {
	gi, err := m.g.GetGroupInfo(m.c.signer)
	if err != nil {
		return nil, err
	}
	return (&framing.MLSMessage{GroupInfo: gi.Marshal()}).Marshal(), nil
}
