"""The blocks of object stores and of shares."""

from __future__ import annotations

import json
from abc import ABC
from typing import Any, ClassVar

from pydantic import SecretStr
from typing_extensions import override

from flowyard.filesystems.remote import RemoteFiles


class _Bucket(RemoteFiles, ABC):
    """A folder of a bucket, which its name finds everywhere."""

    _scheme: ClassVar[str]

    bucket_path: str
    """`bucket/folder`."""

    @property
    def basepath(self) -> str:
        """The URL of the folder."""
        return f"{self._scheme}://{self.bucket_path}"


class S3(_Bucket):
    """A folder of a bucket of Amazon S3, or of a store that speaks its protocol.

    Without keys those of the environment are used (variables, `~/.aws`, the role of the machine).

    Example:
        from flowyard.filesystems import S3

        S3(bucket_path="my-bucket/results").save("results")
        results = S3.load("results")
    """

    _block_type_name: ClassVar[str | None] = "S3"
    _is_protected: ClassVar[bool] = True
    _scheme: ClassVar[str] = "s3"

    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None

    @override
    def connection_settings(self) -> dict[str, Any]:
        return _known(key=self.aws_access_key_id, secret=self.aws_secret_access_key)


class GCS(_Bucket):
    """A folder of a bucket of Google Cloud Storage.

    Without account information the application default credentials are used.

    Example:
        from flowyard.filesystems import GCS

        GCS(bucket_path="my-bucket/results").save("results")
        results = GCS.load("results")
    """

    _block_type_name: ClassVar[str | None] = "GCS"
    _is_protected: ClassVar[bool] = True
    _scheme: ClassVar[str] = "gcs"

    service_account_info: SecretStr | None = None
    """The content of a service account's key file."""
    project: str | None = None

    @override
    def connection_settings(self) -> dict[str, Any]:
        found = _known(project=self.project)
        if self.service_account_info is not None:
            try:
                found["token"] = json.loads(self.service_account_info.get_secret_value())
            except ValueError:
                raise ValueError(
                    "service_account_info is not JSON; give the content of the service account's key file"
                ) from None
        return found


class Azure(RemoteFiles):
    """A folder of a container of Azure Blob Storage.

    Example:
        from flowyard.filesystems import Azure

        Azure(bucket_path="my-container/results", azure_storage_connection_string="...").save("results")
        results = Azure.load("results")
    """

    _block_type_name: ClassVar[str | None] = "Azure"
    _is_protected: ClassVar[bool] = True

    bucket_path: str
    """`container/folder`, or only the folder if `azure_storage_container` is given."""
    azure_storage_connection_string: SecretStr | None = None
    azure_storage_account_name: SecretStr | None = None
    azure_storage_account_key: SecretStr | None = None
    azure_storage_tenant_id: SecretStr | None = None
    azure_storage_client_id: SecretStr | None = None
    azure_storage_client_secret: SecretStr | None = None
    azure_storage_anon: bool = True
    """False uses the credentials of the machine where none are given."""
    azure_storage_container: SecretStr | None = None

    @property
    def basepath(self) -> str:
        """The URL of the folder."""
        if self.azure_storage_container is not None:
            return f"az://{self.azure_storage_container.get_secret_value()}/{self.bucket_path}"
        return f"az://{self.bucket_path}"

    @override
    def connection_settings(self) -> dict[str, Any]:
        return _known(
            connection_string=self.azure_storage_connection_string,
            account_name=self.azure_storage_account_name,
            account_key=self.azure_storage_account_key,
            tenant_id=self.azure_storage_tenant_id,
            client_id=self.azure_storage_client_id,
            client_secret=self.azure_storage_client_secret,
            anon=self.azure_storage_anon,
        )


class SMB(RemoteFiles):
    """A folder of a Windows share.

    Example:
        from flowyard.filesystems import SMB

        SMB(share_path="reports/daily", smb_host="files.example.com", smb_password="...").save("reports")
        reports = SMB.load("reports")
    """

    _block_type_name: ClassVar[str | None] = "SMB"
    _is_protected: ClassVar[bool] = True

    share_path: str
    """`share/folder`."""
    smb_username: SecretStr | None = None
    smb_password: SecretStr | None = None
    smb_host: str
    smb_port: int | None = None

    @property
    def basepath(self) -> str:
        """The URL of the folder."""
        return f"smb://{self.smb_host.rstrip('/')}/{self.share_path.strip('/')}"

    @override
    def connection_settings(self) -> dict[str, Any]:
        return _known(host=self.smb_host, port=self.smb_port, username=self.smb_username, password=self.smb_password)


def _known(**settings: Any) -> dict[str, Any]:
    """Return the settings that have a value, secrets in the open."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.items()
        if value is not None
    }
