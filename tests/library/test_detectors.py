

def test_detectors_on_features_take_them_by_name(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 1, 32, 32), dtype=np.float32)
    features = {"name": "grey_statistics", "size": (32, 32)}
    detector = medood.detector("patch_core", (1, 32, 32), features=features, bank=20).fit(images)
    scores = detector.score(images)
    assert scores.map is not None
    again = medood.load_detector(medood.save_detector(detector, tmp_path / "saved")).score(images)
    assert np.allclose(again.image, scores.image)
    with pytest.raises(medood.MedoodError, match="did you mean"):
        medood.detector("knn", (1, 32, 32), features="grey_statistic")
    with pytest.raises(medood.MedoodError, match="works on no features"):
        medood.detector("autoencoder", (1, 32, 32), features="grey_statistics")
