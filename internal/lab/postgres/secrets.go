package postgres

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeema/knownhosts"

	"github.com/shiplift/shiplift/internal/lab/sshd"
)

// The accounts in a lab's database. Each has a password of its own, kept in a
// file of mode 0600 and nowhere else.
const (
	Superuser  = "postgres"
	Replicator = "replicator"
	App        = "app" // owns the database of the same name
)

const (
	secretsDir = "secrets"
	sshDir     = "ssh"
	clientKey  = "id_ed25519"
	knownHosts = "known_hosts"
	appDSN     = "app.dsn"
)

// SuperuserFile is the file that holds the superuser's password.
func (l *Lab) SuperuserFile() string { return filepath.Join(l.Dir, secretsDir, Superuser) }

// DSNFile is the file that holds the application's connection string: all
// nodes, only a writable server will do.
func (l *Lab) DSNFile() string { return filepath.Join(l.Dir, secretsDir, appDSN) }

func (l *Lab) makeSecrets() error {
	dir := filepath.Join(l.Dir, secretsDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{Superuser, Replicator, App} {
		var b [18]byte
		_, _ = rand.Read(b[:]) // never fails
		if err := os.WriteFile(filepath.Join(dir, name), []byte(hex.EncodeToString(b[:])+"\n"), 0o600); err != nil {
			return err
		}
	}
	password, err := l.password(App)
	if err != nil {
		return err
	}
	return os.WriteFile(l.DSNFile(), []byte(l.dsn(password)+"\n"), 0o600)
}

func (l *Lab) password(account string) (string, error) {
	b, err := os.ReadFile(filepath.Join(l.Dir, secretsDir, account))
	return strings.TrimSpace(string(b)), err
}

// DSN is the application's connection string, with its password: every node
// is tried until one takes writes.
func (l *Lab) DSN() (string, error) {
	password, err := l.password(App)
	if err != nil {
		return "", fmt.Errorf("read the application's password: %w", err)
	}
	return l.dsn(password), nil
}

// NodeDSNs are the application's connection strings to each single node.
func (l *Lab) NodeDSNs() (map[string]string, error) {
	password, err := l.password(App)
	if err != nil {
		return nil, fmt.Errorf("read the application's password: %w", err)
	}
	out := map[string]string{}
	for _, n := range l.spec.Nodes {
		u := url.URL{
			Scheme: "postgres", User: url.UserPassword(App, password), Host: address(n.Port), Path: "/" + App,
			RawQuery: "sslmode=disable&connect_timeout=2",
		}
		out[n.Name] = u.String()
	}
	return out, nil
}

func (l *Lab) dsn(password string) string {
	var hosts []string
	for _, n := range l.spec.Nodes {
		hosts = append(hosts, address(n.Port))
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(App, password), Host: strings.Join(hosts, ","), Path: "/" + App,
		RawQuery: "target_session_attrs=read-write&sslmode=disable&connect_timeout=2",
	}
	return u.String()
}

// makeKeys makes the client's key, a host key for each node, and the
// known_hosts file that knows them all.
func (l *Lab) makeKeys() error {
	dir := filepath.Join(l.Dir, sshDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if _, err := sshd.KeyFile(filepath.Join(dir, clientKey)); err != nil {
		return err
	}
	var known strings.Builder
	for _, n := range l.spec.Nodes {
		key, err := sshd.KeyFile(l.hostKeyFile(n))
		if err != nil {
			return err
		}
		known.WriteString(knownhosts.Line([]string{address(n.SSHPort)}, key.PublicKey()) + "\n")
	}
	return os.WriteFile(filepath.Join(dir, knownHosts), []byte(known.String()), 0o644)
}

func (l *Lab) hostKeyFile(n Node) string {
	return filepath.Join(l.Dir, sshDir, "host_"+n.Name)
}
