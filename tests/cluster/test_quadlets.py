"""Podman's Quadlets on machines of Debian 13, from submit to destroy, and on a machine whose Podman is too old."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.images import IMAGE, load_image
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually, start_over

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

VOLUME = "[Volume]\n"
NETWORK = "[Network]\nSubnet=10.77.0.0/24\n"
CONTAINER = f"""\
[Unit]
Description=a shop in a container
[Container]
Image={IMAGE}
Pull=never
Volume=data.volume:/data
Network=app.network
StopTimeout=1
Exec=sh -c "echo %i opens, %WORD%; echo %i >>/data/visits; exec sleep infinity"
[X-Fleet]
Conflicts=shop@*
"""


@pytest.fixture(scope="module")
def with_image(newer: Cluster) -> Cluster:
    for node in newer.nodes.values():
        load_image(node)
    return newer


@pytest.fixture
def fleet(with_image: Cluster, tmp_path: Path) -> Fleet:
    start_over(with_image)
    return Fleet(with_image, tmp_path)


def shop(word: str) -> str:
    return CONTAINER.replace("%WORD%", word)


def test_a_quadlet_with_its_volume_and_network_from_submit_to_destroy(fleet: Fleet) -> None:
    template = fleet.write("shop@.container", shop("first"))
    fleet.ctl("submit", template)
    fleet.ctl("start", "--no-block", "shop@1.container")
    eventually("the reason", lambda: "data.volume" in fleet.ctl("why", "shop@1.container").stdout)

    fleet.ctl("submit", fleet.write("data.volume", VOLUME), fleet.write("app.network", NETWORK))
    fleet.ctl("start", "shop@1.container", "shop@2.container", timeout_s=120)
    homes = fleet.settled("shop@*.service", 2)
    assert len(set(homes.values())) == 2
    home = homes["shop@1.service"]
    assert "shop@1.container" in fleet.ctl("list-units", "--no-legend").stdout
    assert fleet.shell(home, "systemctl is-active data-volume.service app-network.service") == "active\nactive\n"
    assert "10.77.0." in fleet.shell(home, "podman inspect -f '{{json .NetworkSettings.Networks}}' systemd-shop_1")
    assert "1 opens, first" in fleet.ctl("journal", "shop@1.container").stdout
    assert "active (running)" in fleet.ctl("status", "shop@1.container").stdout

    before = fleet.running("shop@1.service")
    fleet.ctl("restart", "shop@1.container", timeout_s=120)
    eventually("another run", lambda: (now := fleet.running("shop@1.service")) and now != before)
    changed = fleet.write("shop@.container", shop("second"))
    fleet.ctl("rollout", "shop@*.container", "--file", changed, "--healthy-for", "100ms", timeout_s=180)
    assert fleet.settled("shop@*.service", 2) == homes
    assert "1 opens, second" in fleet.ctl("journal", "shop@1.container").stdout
    visits = "/var/lib/containers/storage/volumes/systemd-data/_data/visits"
    assert fleet.shell(home, f"cat {visits}").split() == ["1"] * 3

    fleet.ctl("stop", "shop@1.container", timeout_s=60)
    assert set(fleet.settled("shop@*.service", 1)) == {"shop@2.service"}
    fleet.ctl("destroy", "shop@1.container", "shop@2.container", "shop@.container", timeout_s=120)
    eventually("nothing of it anywhere", lambda: not fleet.truth("shop@*.service"))
    places = "/run/containers/systemd /run/fleet/beside /run/fleet/units"
    left = (
        f"find {places} -type f -o -type l 2>/dev/null; podman ps -q; systemctl is-active data-volume.service || :"
    )
    for node in fleet.cluster.nodes:
        assert fleet.shell(node, left).split() == ["inactive"], node
    fleet.ctl("destroy", "data.volume", "app.network")


def test_what_is_wrong_is_said_before_or_where_it_happens(fleet: Fleet) -> None:
    fleet.start("plain.service")
    said = fleet.fails("submit", fleet.write("plain.container", shop("never")))
    assert "systemd has plain.container and plain.service under one name, plain.service" in said

    lacking = fleet.cluster.node("core-3")
    lacking.exec(["rm", "/usr/lib/systemd/system-generators/podman-system-generator"])
    lacking.exec(["systemctl", "restart", "fleet-agentd"], timeout_s=60)
    text = f"[Container]\nImage={IMAGE}\nExec=sleep infinity\nBad=1\n[X-Fleet]\nMachineMetadata=node=%NODE%\n"
    fleet.ctl("start", "--no-block", fleet.write("bad.container", text.replace("%NODE%", "n3")))
    why = "podman 5.3 or newer required; it has none with a generator for Quadlets"
    eventually("the reason", lambda: why in fleet.ctl("why", "bad.container").stdout)
    assert fleet.homes("bad*") == {}

    path = fleet.write("bad.container", text.replace("%NODE%", "n1"))
    said = fleet.fails("start", "--replace", path, timeout_s=60)
    assert "unsupported key 'Bad' in group 'Container'" in said
    node = fleet.cluster.node("core-1")
    node.exec(["sh", "-c", "cat >/root/bad.container"], text=Path(path).read_text())
    said = node.exec(["fleetctl", "verify", "/root/bad.container"]).stdout
    assert "bad.container:4: Podman's generator says: unsupported key 'Bad' in group 'Container';" in said
    right = fleet.write("bad.container", text.replace("%NODE%", "n1").replace("Bad=1", "Pull=never\nStopTimeout=1"))
    fleet.ctl("start", "--replace", right, timeout_s=60)
    assert fleet.settled("bad.service", 1) == {"bad.service": "core-1"}


INFRA = f"--infra-image={IMAGE} --infra-command='sleep infinity'"  # no registry has what Podman takes else
POD = f"[Pod]\nPodmanArgs={INFRA}\n"
MEMBER = f"""\
[Container]
Image={IMAGE}
Pull=never
Pod=duo.pod
StopTimeout=1
Exec=sh -c "echo %p is in; exec sleep infinity"
"""


def test_the_containers_of_a_pod_are_on_one_machine_with_it(fleet: Fleet) -> None:
    lead = fleet.write("lead.container", MEMBER)
    mate = fleet.write("mate.container", f"{MEMBER}[X-Fleet]\nMachineOf=lead.container\n")
    fleet.ctl("submit", fleet.write("duo.pod", POD))
    fleet.ctl("start", lead, mate, timeout_s=180)
    home = fleet.settled("lead.service", 1, within_s=120)["lead.service"]
    assert fleet.settled("mate.service", 1, within_s=120) == {"mate.service": home}
    assert fleet.shell(home, "systemctl is-active duo-pod.service") == "active\n"
    assert fleet.shell(home, "podman pod ps --format '{{.Name}} {{.NumberOfContainers}}'") == "systemd-duo 3\n"
    assert "mate is in" in fleet.ctl("journal", "mate.container").stdout
    fleet.ctl("destroy", "lead.container", "mate.container", timeout_s=120)
    eventually("nothing of it runs", lambda: not fleet.shell(home, "podman ps -q"), timeout_s=120)
    fleet.ctl("destroy", "duo.pod")


def test_a_pod_may_be_started_by_itself(fleet: Fleet) -> None:
    fleet.ctl("start", fleet.write("solo.pod", POD), timeout_s=180)
    home = fleet.settled("solo-pod.service", 1, within_s=120)["solo-pod.service"]
    assert "solo.pod" in fleet.ctl("list-units", "--no-legend").stdout
    fleet.ctl("destroy", "solo.pod", timeout_s=120)
    left = "podman pod ps --format '{{.Name}}' | grep solo || :"
    eventually("no pod is left", lambda: not fleet.shell(home, left), timeout_s=120)


KUBE = "[Kube]\nYaml=/root/shop.yaml\n"
YAML = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: shop}}
spec:
  containers:
  - name: front
    image: {IMAGE}
    imagePullPolicy: Never
    command: [sh, -c, "echo the front is open; exec sleep infinity"]
"""


def test_what_a_kubes_yaml_says_runs_and_goes(fleet: Fleet) -> None:
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"cat > /root/shop.yaml <<'END'\n{YAML}END")
    fleet.ctl("start", fleet.write("shop.kube", KUBE), timeout_s=180)
    home = fleet.settled("shop.service", 1, within_s=120)["shop.service"]
    assert "shop.kube" in fleet.ctl("list-units", "--no-legend").stdout
    assert "shop-front" in fleet.shell(home, "podman ps --format '{{.Names}}'")
    assert "the front is open" in fleet.shell(home, "podman logs shop-front")
    fleet.ctl("destroy", "shop.kube", timeout_s=120)
    eventually("nothing of it runs", lambda: not fleet.shell(home, "podman ps -q"), timeout_s=120)


USING = "[Container]\nImage=%s\nPull=never\nStopTimeout=1\nExec=sh -c 'echo from $FROM; exec sleep infinity'\n"


def test_an_image_and_a_build_are_there_before_the_container_that_names_them(fleet: Fleet) -> None:
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"podman save -q -o /root/base.tar {IMAGE} && mkdir -p /root/build")
        fleet.shell(node, f"printf 'FROM {IMAGE}\\nENV FROM=build\\n' > /root/build/Containerfile")
    image = fleet.write("base.image", f"[Image]\nImage=docker-archive:/root/base.tar\nImageTag={IMAGE}\n")
    build = fleet.write(
        "made.build", "[Build]\nImageTag=localhost/made:1\nSetWorkingDirectory=/root/build\nPull=never\n"
    )
    fleet.ctl("submit", image, build)
    pulled = fleet.write("pulled.container", USING % "base.image")
    built = fleet.write("built.container", USING % "made.build")
    fleet.ctl("start", pulled, built, timeout_s=180)
    pulls = fleet.settled("pulled.service", 1, within_s=120)["pulled.service"]
    builds = fleet.settled("built.service", 1, within_s=120)["built.service"]
    assert fleet.shell(pulls, "systemctl is-active base-image.service") == "active\n"
    fleet.shell(builds, "podman image exists localhost/made:1")
    assert "from build" in fleet.ctl("journal", "built.container").stdout
    fleet.ctl("destroy", "pulled.container", "built.container", "base.image", "made.build", timeout_s=120)
