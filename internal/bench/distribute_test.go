package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/shiplift/shiplift/internal/host"
	"github.com/shiplift/shiplift/internal/lab/sshd"
)

const (
	copyNodes = 8
	copySize  = 64 << 20
)

// BenchmarkDistribute sends a package of 64 MB to eight hosts over ssh: by the
// tool, all at once and proven by checksum, and as scp in a loop does, one copy
// after another with sha256sum behind each. Machine and disk are shared by all
// hosts here, so the ratio is the least that separate machines would show.
func BenchmarkDistribute(b *testing.B) {
	dir := b.TempDir()
	src := filepath.Join(dir, "package")
	body := make([]byte, copySize)
	_, _ = rand.Read(body)
	if err := os.WriteFile(src, body, 0o600); err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(body)
	want := hex.EncodeToString(sum[:])
	set, nodes := farm(b, dir)
	var ours, theirs []time.Duration
	n := 0
	for b.Loop() {
		n++
		at := func(way string) string { return fmt.Sprintf("%s-%d", way, n) }
		began := time.Now()
		if err := host.PutAll(b.Context(), set, nodes, src, at("ours"), want, nil); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(began))
		began = time.Now()
		for _, node := range nodes {
			copyOver(b, set[node], src, at("theirs"), want)
		}
		theirs = append(theirs, time.Since(began))
		for _, node := range nodes {
			if _, err := set[node].Run(b.Context(), host.Change("rm", "-f", at("ours"), at("theirs"))); err != nil {
				b.Fatal(err)
			}
		}
	}
	o, t := Summarize(ours), Summarize(theirs)
	b.Logf("all at once %s, one after another %s", o, t)
	b.ReportMetric(float64(o.Median.Milliseconds()), "shiplift-ms")
	b.ReportMetric(float64(t.Median.Milliseconds()), "one-by-one-ms")
	b.ReportMetric(Ratio(o, t), "ratio")
}

// copyOver is scp and sha256sum.
func copyOver(b *testing.B, h host.Host, src, dst, want string) {
	b.Helper()
	f, err := os.Open(src)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	c := host.Change("dd", "of="+dst, "bs=1M", "status=none")
	c.Stdin = f
	if _, err := h.Run(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	res, err := h.Run(b.Context(), host.Read("sha256sum", dst))
	if err != nil || len(res.Text()) < 64 || res.Text()[:64] != want {
		b.Fatalf("%q, %v", res.Text(), err)
	}
}

// farm serves hosts with homes of their own over ssh.
func farm(b *testing.B, dir string) (host.Set, []string) {
	b.Helper()
	key, err := sshd.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	identity := filepath.Join(dir, "id")
	if err := os.WriteFile(identity, key.PEM, 0o600); err != nil {
		b.Fatal(err)
	}
	set, nodes, known := host.Set{}, []string{}, ""
	for i := range copyNodes {
		name := fmt.Sprintf("node%d", i+1)
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o700); err != nil {
			b.Fatal(err)
		}
		hostKey, err := sshd.NewKey()
		if err != nil {
			b.Fatal(err)
		}
		s, err := sshd.Start(sshd.Config{HostKey: hostKey, Authorized: []gossh.PublicKey{key.PublicKey()}, Machine: &sshd.OSMachine{Home: home}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		known += s.KnownHosts()
		h := host.NewSSH(host.SSHConfig{Node: name, Host: "127.0.0.1", Port: s.Port(), User: "bench", IdentityFile: identity,
			KnownHosts: filepath.Join(dir, "known_hosts"), ConfigFile: os.DevNull, AgentSocket: "none"})
		b.Cleanup(func() { _ = h.Close() })
		set[name], nodes = h, append(nodes, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(known), 0o600); err != nil {
		b.Fatal(err)
	}
	return set, nodes
}
